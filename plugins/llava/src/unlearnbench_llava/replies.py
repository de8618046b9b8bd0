"""How yes or no is read from the text of an answer."""

from __future__ import annotations

import re

TAIL = 5  # characters


def read(reply: str) -> bool | None:
    """Return what an answer says, None if it says neither yes nor no, or both.

    An answer that begins with one of the words says that, whatever follows: "No, but yes to ..." is a no.
    """
    words: list[str] = [word.lower() for word in re.findall(r"\b(?:yes|no)\b", reply, re.IGNORECASE)]
    if re.match(r"\W*(?:yes|no)\b", reply, re.IGNORECASE):
        return words[0] == "yes"
    return words[0] == "yes" if len(set(words)) == 1 else None


def read_tail(reply: str) -> bool | None:
    """Return whether "yes" is among the last five characters of an answer; None for an empty answer.

    The rule of a published evaluator, kept for comparison with its tables only: "Yes, there is" counts as no.
    """
    return "yes" in reply[-TAIL:].lower() if reply.strip() else None
