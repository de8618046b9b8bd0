"""The source and destination prompts of a request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from unlearnbench_time.align import subsequence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import ForgetConcept
    from unlearnbench_time.params import EditWith

CONTEXTS = ("a photograph of {}", "one image with {}", "a drawing of {}")


def prompt_pairs(
    concepts: Sequence[ForgetConcept], *, edit_with: EditWith, destination: str, augment: bool
) -> list[tuple[str, str]]:
    """Return the distinct (source, destination) prompts of all concepts.

    Args:
        concepts: what to forget.
        edit_with: "name": the bare name and the words of its target; "pairs": the edit prompts and their targets.
        destination: "target", or words that take the place of every target; {} in them is the source.
        augment: add every pair inside `CONTEXTS`; an empty destination stays empty.
    """
    rows: list[tuple[str, str]] = []
    for concept in concepts:
        if edit_with == "pairs":
            rows += [(pair.prompt, pair.target) for pair in concept.pairs]
        else:
            rows.append((concept.name, concept.target))
    if destination != "target":
        rows = [(source, destination.replace("{}", source)) for source, _ in rows]
    if augment:
        rows += [(_inside(c, source), _inside(c, target)) for source, target in rows for c in CONTEXTS]
    return list(dict.fromkeys(rows))


def inserts_only(source: str, destination: str) -> bool:
    """Return whether the destination is the source with words inserted, which is what the paper's rule aligns."""
    return subsequence(_words(source), _words(destination)) is not None


def _inside(context: str, prompt: str) -> str:
    """Put a prompt into a context, its leading article in lower case."""
    return context.format(re.sub(r"^(A|An)\b", lambda article: article[0].lower(), prompt)) if prompt.strip() else ""


def _words(prompt: str) -> list[str]:
    words = re.findall(r"\w+|[^\w\s]", prompt.casefold())
    return ["a" if word == "an" else word for word in words]
