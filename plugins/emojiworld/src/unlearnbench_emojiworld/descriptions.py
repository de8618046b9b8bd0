"""Descriptions of a subject: those of the vocabulary, and new ones made of the head of one and the tail of another.

A text encoder that reads a dozen sentences a subject learns them by heart; recombined ones make it learn what each part
says. What comes near an evaluation prompt is withheld: evaluation asks in words that training combined otherwise.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

NEAR = 0.8
LEAST_CONTENT = 3
_JOINT = re.compile(
    r" (?=(?:that|who|which|with|without|of|in|on|for|from|at|under|over|behind|along|through|around|between|above)\b)"
)
# Words that frame a description; they carry no meaning of a subject or a style.
_FRAME = """
a an the of in on at to and or with without who that which what when is are it its there here this these we can see
look one for from by as into over under behind between before after above along around across again up down through
small simple nice picture image icon shows red orange yellow green blue purple pink white background
"""
# Words that many subjects share: alone they describe none.
_VAGUE = "person someone somebody man woman lady animal creature thing place day park two"
FRAME, VAGUE = frozenset(_FRAME.split()), frozenset(_VAGUE.split())


def content(text: str) -> frozenset[str]:
    """Return the words of a text that say something."""
    return frozenset(re.findall(r"[a-z0-9]+", text.lower())) - FRAME


def near(one: str, other: str) -> bool:
    """Tell whether two texts share at least `NEAR` of the words that say something (Jaccard index)."""
    first, second = content(one), content(other)
    return bool(first) and len(first & second) >= NEAR * len(first | second)


def recombined(descriptions: Sequence[str]) -> list[str]:
    """Return every head of one description with the tail of another, in order, without those that say too little."""
    parts = [_JOINT.split(text, maxsplit=1) for text in descriptions]
    heads = dict.fromkeys(part[0] for part in parts if len(part) == 2)
    tails = dict.fromkeys(part[1] for part in parts if len(part) == 2)
    made = dict.fromkeys(f"{head} {tail}" for head in heads for tail in tails if not content(head) & content(tail))
    known = set(descriptions)
    return [text for text in made if text not in known and len(content(text) - VAGUE) >= LEAST_CONTENT]


def every_description(descriptions: dict[str, Sequence[str]], withheld: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the recombined descriptions of each subject.

    Left out is what several subjects could be called, and what is near one of the withheld texts.
    """
    prompts = [content(text) for text in withheld]
    found = {name: recombined(texts) for name, texts in descriptions.items()}
    owners: dict[str, int] = {}
    for texts in found.values():
        for text in texts:
            owners[text] = owners.get(text, 0) + 1
    return {
        name: tuple(text for text in texts if owners[text] == 1 and not _is_near(content(text), prompts))
        for name, texts in found.items()
    }


def _is_near(words: frozenset[str], prompts: Collection[frozenset[str]]) -> bool:
    return any(len(words & prompt) >= NEAR * len(words | prompt) for prompt in prompts)
