"""The prompts of an edit: pairs to edit with and prompts to retain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import ForgetConcept


def edit_pairs(concept: ForgetConcept, pairs: Literal["prompts", "names"]) -> list[tuple[str, str]]:
    """Return (edit prompt, target prompt) pairs of a concept: its prompt pairs, or its name and its target's."""
    if pairs == "names":
        return [(concept.name, concept.target)]
    return [(pair.prompt, pair.target) for pair in concept.pairs]


def retained(prompts: Sequence[str], edited: Sequence[str]) -> list[str]:
    """Return the distinct retain prompts, in order, without those that are edited (whatever their case)."""
    taken = {_fold(prompt) for prompt in edited}
    return list(dict.fromkeys(prompt for prompt in prompts if _fold(prompt) not in taken))


def _fold(prompt: str) -> str:
    return " ".join(prompt.split()).casefold()
