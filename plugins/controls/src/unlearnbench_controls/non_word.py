"""Another method, asked to forget what is not there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from unlearnbench.api import EditPair, ForgetConcept, Method
from unlearnbench_controls.inference import names
from unlearnbench_controls.like import other
from unlearnbench_controls.params import NonWordParams

if TYPE_CHECKING:
    from unlearnbench.api import EditContext, ModelInfo, Request, Sampling
    from unlearnbench.model import Model


class NonWord(Method[NonWordParams]):
    """Let another method forget a word that means nothing, with the target and the retain set of the concept.

    The edit should change no image of anything. What it changes nevertheless, the other method does to every concept,
    whichever it is asked for.
    """

    params_type = NonWordParams

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse what the other method refuses."""
        return other(self.params).refusal(model, without_concepts(request, self.params.word))

    def edit(self, model: Model, request: Request, ctx: EditContext) -> Sampling | None:
        """Hand the other method the request with the word in the concept's place."""
        asked = without_concepts(request, self.params.word)
        ctx.report(like=self.params.like, words=[concept.name for concept in asked.forget])
        return other(self.params).edit(model, asked, ctx)


def without_concepts(request: Request, word: str) -> Request:
    """Return the request with words that mean nothing in place of its concepts.

    The first concept becomes `word`, the second `word` with a 'b' at its end, and so on. Id, name and edit prompts are
    those of the word, aliases are gone; target, target prompts and retain set stay.
    """
    words = [word if n == 0 else word + "bcdefghijklmnopqrstuvwxyz"[(n - 1) % 25] * (1 + (n - 1) // 25)
             for n in range(len(request.forget))]  # fmt: skip
    forget = tuple(_as_word(concept, made) for concept, made in zip(request.forget, words, strict=True))
    return request.model_copy(update={"forget": forget})


def _as_word(concept: ForgetConcept, word: str) -> ForgetConcept:
    pairs = tuple(
        EditPair(prompt=renamed(pair.prompt, pair.target, names(concept, aliases=True), word), target=pair.target)
        for pair in concept.pairs
    )
    return concept.model_copy(update={"id": word, "name": word, "aliases": (), "pairs": pairs})


def renamed(prompt: str, target: str, phrases: tuple[str, ...], word: str) -> str:
    """Return an edit prompt with a word in place of the concept.

    The concept is where its names are, as whole words, a plural in -s included. In a prompt without any it is where the
    prompt differs from the target prompt.

    Args:
        prompt: edit prompt of the concept.
        target: the prompt that it leads to.
        phrases: name and aliases of the concept.
        word: what takes their place.
    """
    either = "|".join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True))
    replaced = re.sub(rf"(?<!\w)(?:{either})s?(?!\w)", word, prompt, flags=re.IGNORECASE)
    if replaced != prompt:
        return replaced
    own, led = prompt.split(), target.split()
    start = next((i for i, (a, b) in enumerate(zip(own, led, strict=False)) if a != b), min(len(own), len(led)))
    most = min(len(own), len(led)) - start
    end = next((i for i in range(most) if own[-1 - i] != led[-1 - i]), most)
    return " ".join([*own[:start], word, *own[len(own) - end :]])
