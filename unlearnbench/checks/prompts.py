"""Rules for the prompts of a data set: what makes a number on a board mean what its column says.

Near-identical prompts are those whose sets of words overlap by 0.8 or more (Jaccard index).
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from unlearnbench.api import Concept

NEAR = 0.8


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return re.findall(r"\w+", text.casefold())


def names(text: str, concept: Concept) -> str | None:
    """Return the name or alias of the concept that a text contains as whole words; None if there is none."""
    inside = " ".join(words(text))
    for name in (concept.display, concept.id.replace("_", " "), *concept.aliases):
        if re.search(rf"(?<!\w){re.escape(' '.join(words(name)))}(?!\w)", inside):
            return name
    return None


def near_pairs(one: Iterable[str], other: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a text of `one` and a text of `other` that are equal or nearly so."""
    rows = [(text, frozenset(words(text))) for text in dict.fromkeys(other)]
    for text in dict.fromkeys(one):
        own = frozenset(words(text))
        for found, its in rows:
            if own == its or (own and len(own & its) >= NEAR * len(own | its)):
                yield text, found


def evaluation(concept: Concept) -> tuple[str, ...]:
    """Return the evaluation prompts of a concept."""
    return (*concept.prompts.direct, *concept.prompts.indirect)


def incomplete(concepts: Mapping[str, Concept]) -> Iterator[str]:
    """Yield what a concept lacks."""
    sizes = {(len(c.prompts.direct), len(c.prompts.indirect)) for c in concepts.values()}
    for name, concept in concepts.items():
        prompts = concept.prompts
        if not prompts.indirect:
            yield f"{name} has no indirect prompt"
        if len(prompts.target_direct) != len(prompts.direct):
            yield f"{name} has {len(prompts.direct)} direct and {len(prompts.target_direct)} target_direct prompts"
        if len(prompts.target_indirect) != len(prompts.indirect):
            counts = f"{len(prompts.indirect)} indirect and {len(prompts.target_indirect)} target_indirect"
            yield f"{name} has {counts} prompts"
        if not concept.edit:
            yield f"{name} has no edit pair"
    if len(sizes) > 1:
        yield "concepts have different numbers of prompts, and boards resample prompt i of all of them together"


def broken_references(concepts: Mapping[str, Concept]) -> Iterator[str]:
    """Yield concepts that name themselves, or a retain set that contains the target of what is forgotten."""
    for name, concept in concepts.items():
        if concept.target.id == name:
            yield f"the target of {name} is {name} itself"
        if name in concept.neighbours or name in concept.overlaps:
            yield f"{name} is its own neighbour or overlap"
        for other in concept.overlaps:
            if other not in concepts:
                yield f"{name} overlaps {other}, which is no concept of the data set"
        if concept.target.id in concepts and concept.target.id not in concept.overlaps and concept.target.id != name:
            yield f"{name} is mapped to {concept.target.id}, whose images count as retained: list it in overlaps"


def misleading(concepts: Mapping[str, Concept]) -> Iterator[str]:
    """Yield prompts that name what they must not name, or do not name what they must."""
    for concept in concepts.values():
        for text in concept.prompts.direct:
            if names(text, concept) is None:
                yield f"the direct prompt '{text}' does not name {concept.display}"
        for text in concept.prompts.indirect:
            if (found := names(text, concept)) is not None:
                yield f"the indirect prompt '{text}' says '{found}'"
        targets = (concept.prompts.target_direct, concept.prompts.target_indirect, (p.target for p in concept.edit))
        for text in chain.from_iterable(targets):
            if (found := names(text, concept)) is not None:
                yield f"the target prompt '{text}' says '{found}'"
        for pair in concept.edit:
            if words(pair.prompt) == words(pair.target):
                yield f"the edit pair '{pair.prompt}' maps to itself"
