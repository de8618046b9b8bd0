"""Words of prompts, names inside them, and prompts that are nearly the same.

Near-identical prompts are those whose sets of words overlap by 0.8 or more (Jaccard index).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unlearnbench.api import Concept

NEAR = 0.8


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return re.findall(r"\w+", text.casefold())


def fold(name: str) -> str:
    """Return a name without case and separators."""
    return "".join(words(name)).replace("_", "")


def own_names(concept: Concept) -> tuple[str, ...]:
    """Return the words that name a concept: its display name, its id as words, its aliases."""
    return (concept.display, concept.id.replace("_", " "), *concept.aliases)


def names(text: str, concept: Concept) -> str | None:
    """Return the name or alias of the concept that a text contains as whole words; None if there is none.

    A plural in -s counts as the word itself.
    """
    inside = " ".join(words(text))
    for name in own_names(concept):
        if re.search(rf"(?<!\w){re.escape(' '.join(words(name)))}s?(?!\w)", inside):
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
