"""TIME's alignment rule: which token of the destination prompt every token of the source prompt is mapped to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from unlearnbench_time.params import Alignment


def align(source: Sequence[int], destination: Sequence[int], positions: int, rule: Alignment) -> list[int]:
    """Return the position in the destination that each position of the source is mapped to.

    Args:
        source: token ids from BOS to EOS, without padding.
        destination: the same of the destination prompt.
        positions: token positions of a prompt.
        rule: what happens where the source is no subsequence of the destination: "replacement" aligns what was
            replaced, "subsequence" refuses.

    Returns:
        `positions` indices. Behind the EOS both prompts go on in step, and the last position takes what is left.

    Raises:
        ValueError: the rule is "subsequence" and the source is none of the destination.
    """
    found = subsequence(source, destination)
    if found is None and rule == "subsequence":
        raise ValueError("the source is no subsequence of the destination")
    found = replacement(source, destination) if found is None else found
    behind = range(1, positions - len(found) + 1)
    return found + [min(found[-1] + step, positions - 1) for step in behind]


def subsequence(source: Sequence[Hashable], destination: Sequence[Hashable]) -> list[int] | None:
    """Return where the source's tokens stand in the destination, skipping inserted ones; None if they do not all."""
    found: list[int] = []
    start = 0
    for token in source:
        place = next((i for i in range(start, len(destination)) if destination[i] == token), None)
        if place is None:
            return None
        found.append(place)
        start = place + 1
    return found


def replacement(source: Sequence[Hashable], destination: Sequence[Hashable]) -> list[int]:
    """Align two prompts that differ in one phrase.

    What both begin with and what both end with is aligned token by token. The phrases between are aligned from their
    last tokens backwards; if the destination's is the shorter one, its first token takes what is left, and if it is
    empty, the token before it does (BOS for an empty prompt).
    """
    shorter = min(len(source), len(destination))
    head = next((i for i in range(shorter) if source[i] != destination[i]), shorter)
    tail = next((i for i in range(shorter - head) if source[-1 - i] != destination[-1 - i]), shorter - head)
    shift = len(destination) - len(source)
    first = min(head, len(destination) - tail - 1)
    middle = [max(i + shift, first) for i in range(head, len(source) - tail)]
    return [*range(head), *middle, *range(len(destination) - tail, len(destination))]
