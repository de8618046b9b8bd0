"""TIME: make the cross-attention treat a source prompt as its destination, in closed form."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from unlearnbench.api import Method
from unlearnbench.errors import UserError
from unlearnbench_time.align import align, subsequence
from unlearnbench_time.params import TIMEParams
from unlearnbench_time.prompts import inserts_only, prompt_pairs
from unlearnbench_time.solve import apply, largest_share, solve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import EditContext, ModelInfo, Request
    from unlearnbench.model import Model
    from unlearnbench_time.params import Alignment


class TIME(Method[TIMEParams]):
    """Map the keys and values of every token of a source prompt onto those of its destination (arXiv:2303.08084)."""

    params_type = TIMEParams

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse models without text cross-attention, missing edit prompts, and what the chosen rule cannot align."""
        if model.family != "sd":
            return (
                f"TIME edits cross-attention keys and values, and a model of family '{model.family}' has none it knows"
            )
        missing = [concept.id for concept in request.forget if self.params.edit_with == "pairs" and not concept.pairs]
        if missing:
            return f"edit_with = 'pairs', but there are no edit prompts for {', '.join(missing)}"
        odd = [pair for pair in self._pairs(request) if not inserts_only(*pair)]
        if odd and self.params.alignment == "subsequence":
            source, destination = odd[0]
            return f"TIME's rule needs a destination that adds words to its source: '{source}' -> '{destination}'"
        return None

    def edit(self, model: Model, request: Request, ctx: EditContext) -> None:
        """Change all `attn2.to_v` weights of the UNet, and `attn2.to_k` unless `keys` is false, and nothing else.

        Raises:
            UserError: the UNet has no text cross-attention, or the rule "subsequence" meets another pair.
        """
        params = self.params
        parts = ("to_k", "to_v") if params.keys else ("to_v",)
        attention: list[Any] = list(model.cross_attention().values())
        weights: list[torch.Tensor] = [getattr(module, part).weight for module in attention for part in parts]
        if not weights:
            raise UserError("The UNet has no text cross-attention to edit.", "Use a Stable Diffusion 1.x or 2.x model.")
        pairs = self._pairs(request)

        start = perf_counter()
        source, destination, inserted = aligned_columns(model, pairs, params.alignment)
        step = destination - source
        encoded = perf_counter()
        solution = solve(source, params.lamb)
        solved = perf_counter()
        null = model.encode([""]).states[0].T.double()
        left = step.double() - step.double() @ (solution.T @ source.double())  # C* − (I + M) C
        report = {
            "pairs": [list(pair) for pair in pairs],
            "inserted_only": inserted,
            "columns": source.shape[1],
            "matrices": len(weights),
            "target_residual": largest_share(weights, left, step),
            "null_prompt_change": largest_share(weights, step.double() @ (solution.T @ null), null),
        }
        checked = perf_counter()
        apply(weights, step, solution)
        ctx.report(
            **report,
            encode_seconds=encoded - start,
            solve_seconds=solved - encoded,
            apply_seconds=perf_counter() - checked,
        )

    def _pairs(self, request: Request) -> list[tuple[str, str]]:
        params = self.params
        return prompt_pairs(
            request.forget, edit_with=params.edit_with, destination=params.destination, augment=params.augment
        )


def aligned_columns(
    model: Model, pairs: Sequence[tuple[str, str]], rule: Alignment
) -> tuple[torch.Tensor, torch.Tensor, list[bool]]:
    """Encode source-destination pairs, each distinct prompt once, and align all their token positions.

    Returns:
        C and C*, [width, positions x pairs] float32; and for every pair whether its destination only inserts tokens.

    Raises:
        UserError: the rule "subsequence" meets a source that is no subsequence of its destination.
    """
    prompts = list(dict.fromkeys(prompt for pair in pairs for prompt in pair))
    place = {prompt: row for row, prompt in enumerate(prompts)}
    embedding = model.encode(prompts)
    states, article = embedding.states.float(), articles(model)
    tokens = [
        [article.get(token, token) for token in ids[: last + 2]]  # from BOS to EOS
        for ids, last in zip(embedding.ids.tolist(), embedding.last.tolist(), strict=True)
    ]
    C, Cs, inserted = [], [], []
    for source, destination in pairs:
        here, there = tokens[place[source]], tokens[place[destination]]
        try:
            rows = align(here, there, states.shape[1], rule)
        except ValueError:
            raise UserError(
                f"TIME cannot align '{source}' with '{destination}': its tokens are no subsequence.",
                "Type -p alignment=replacement, or shorten the destination.",
            ) from None
        C.append(states[place[source]])
        Cs.append(states[place[destination]][rows])
        inserted.append(subsequence(here, there) is not None)
    return torch.cat(C).T, torch.cat(Cs).T, inserted


def articles(model: Model) -> dict[int, int]:
    """Return the token id of 'an' -> that of 'a', which count as one; empty if the tokenizer spells them."""
    a, an = model.tokenizer(["a", "an"], add_special_tokens=False)["input_ids"]
    return {an[0]: a[0]} if len(a) == len(an) == 1 else {}
