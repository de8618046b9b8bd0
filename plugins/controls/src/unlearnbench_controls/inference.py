"""What can be had without a change of weights: filtered prompts, and a negative prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearnbench.api import Method, Sampling
from unlearnbench_controls.params import NamesParams

if TYPE_CHECKING:
    from unlearnbench.api import EditContext, ForgetConcept, ModelInfo, Request
    from unlearnbench.model import Model


class KeywordFilter(Method[NamesParams]):
    """Replace the concept's name and aliases in every prompt by the words of its target.

    Whole words are replaced, whatever their case, the longest first. A prompt that only describes the concept passes,
    so this forgets on direct prompts and fails on indirect ones; whoever has the weights can leave it out.
    """

    params_type = NamesParams

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse models that take no prompt."""
        return _needs_prompts(model)

    def edit(self, model: Model, request: Request, ctx: EditContext) -> Sampling:
        """Return the words to replace."""
        return Sampling(
            rewrite={name: c.target for c in request.forget for name in names(c, aliases=self.params.aliases)}
        )


class NegativePrompt(Method[NamesParams]):
    """Guide every image away from the concept's name: it takes the place of the empty prompt.

    The guided prediction is e(negative) + g (e(prompt) - e(negative)); with a guidance scale g of at most 1 there is no
    guidance, and nothing changes. Source: Ho and Salimans, Classifier-Free Diffusion Guidance, 2022 (arXiv:2207.12598).
    """

    params_type = NamesParams

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse models that take no prompt."""
        return _needs_prompts(model)

    def edit(self, model: Model, request: Request, ctx: EditContext) -> Sampling:
        """Return the names, separated by commas."""
        words = [name for c in request.forget for name in names(c, aliases=self.params.aliases)]
        return Sampling(negative_prompt=", ".join(dict.fromkeys(words)))


def names(concept: ForgetConcept, *, aliases: bool) -> tuple[str, ...]:
    """Return the words that stand for a concept: its name and, if asked for, its aliases."""
    return tuple(dict.fromkeys((concept.name, *(concept.aliases if aliases else ()))))


def _needs_prompts(model: ModelInfo) -> str | None:
    return None if model.text_layers else f"a model of family '{model.family}' without a text encoder takes no prompt"
