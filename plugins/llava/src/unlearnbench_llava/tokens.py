"""Which tokens say yes and which say no."""

from __future__ import annotations

from typing import Any

from unlearnbench.errors import UserError

WORDS = ("yes", "no")


def answer_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the token ids with which an answer can begin that says yes, and those that say no.

    Every surface form counts: small, capitalised and in capitals, with and without a space before it. A form that is a
    single token stands for itself. Where no form of a word is a single token, their first tokens stand for it, but
    for those that begin the other word too.

    Raises:
        UserError: the tokenizer has no token for one of the words.
    """
    single, first = {}, {}
    for word in WORDS:
        pieces = [_pieces(tokenizer, form) for form in _forms(word)]
        single[word] = {found[0] for found in pieces if len(found) == 1}
        first[word] = {found[0] for found in pieces if found}
    chosen = {word: single[word] or first[word] for word in WORDS}
    shared = chosen["yes"] & chosen["no"]
    yes, no = (sorted(chosen[word] - shared) for word in WORDS)
    if not yes or not no:
        raise UserError(
            f"the judge's tokenizer has no token that says {'no' if yes else 'yes'}",
            "name another LLaVA model, or read its words: -p llava.parser=text",
        )
    return yes, no


def _forms(word: str) -> list[str]:
    return [space + written for space in ("", " ") for written in (word, word.capitalize(), word.upper())]


def _pieces(tokenizer: Any, form: str) -> list[int]:
    """Return the tokens of a form without those of its leading space; none if a token is unknown."""
    pieces: list[int] = tokenizer.encode(form, add_special_tokens=False)
    if tokenizer.unk_token_id in pieces:
        return []
    while pieces and not tokenizer.decode(pieces[:1]).strip():
        pieces = pieces[1:]
    return pieces
