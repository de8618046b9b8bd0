"""The verdict on an edit: whether what it left behind can be a result, and the figures that say so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from unlearnbench.api import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Word = Literal["ok", "no-op", "collapsed", "broken"]
REPORT: Final = "report.json"
NO_RESPONSE: Final = 0.01
"""An edit whose prompts are answered less than this part of the way from concept to target away from the base is a
no-op. Such a step moves no image: with it added to the base, the answer to the concept is still .99 of what it was,
and rounding alone moves float16 weights by up to .001 of theirs."""
TEXT_LOST: Final = 0.98
"""An edit is collapsed if the answers to the retain prompts moved by this part of what text adds to an answer: at 1 the
error is as large as all that the text has to say. With keys and values set to zero, so that no text arrives, it is .99
on EmojiWorld, where an edit with .97 still drew half of the other concepts."""

Measure = Annotated[float | None, Field(ge=0.0)]


class Effects(Frozen):
    """What an edit does to weights and noise predictions; no image is needed. None = it could not be measured."""

    edit_response: Measure = Field(None, description="how far the answers to the edit prompts moved; 1 = to the target")
    target_residual: Measure = Field(None, description="how far they are from the targets'; 1 = as far as before")
    retain_drift: Measure = Field(None, description="how far those to the retain prompts moved; 1 = as without text")
    nullspace_leakage: Measure = Field(
        None, description="change of layer outputs on retain keys over that on edit keys"
    )
    change_norm: Measure = Field(None, description="norm of the change over that of the tensors that it changes")
    change_rank: Measure = Field(None, description="median rank of the changed matrices' changes")
    share_changed: Measure = Field(None, description="share of the model's parameters with another value")


class Verdict(Frozen):
    """What became of an edit."""

    word: Word
    reason: str = Field(min_length=1, description="one sentence")
    faults: tuple[str, ...] = Field((), description="all that is wrong with a broken edit")
    effects: Effects = Effects()


def verdict_on(effects: Effects, *, faults: Sequence[str], changed: bool, samples_otherwise: bool) -> Verdict:
    """Return the verdict on an edit: the first that holds of broken, no-op, collapsed and ok.

    Args:
        effects: what was measured.
        faults: what the edit did that no edit may do, one clause each.
        changed: whether a tensor has other values than before.
        samples_otherwise: whether the edit asks something of the sampler. Such an edit is no no-op, however little
            moves: what it does can depend on prompts that are not known yet.
    """

    def verdict(word: Word, reason: str) -> Verdict:
        return Verdict(word=word, reason=reason, faults=tuple(faults), effects=effects)

    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return verdict("broken", f"{faults[0]}{more}")
    if not changed and not samples_otherwise:
        return verdict("no-op", "no tensor has another value than before, and nothing is asked of the sampler")
    response, drift = effects.edit_response, effects.retain_drift
    if response is not None and response < NO_RESPONSE and not samples_otherwise:
        return verdict(
            "no-op",
            f"the answers to the edit prompts moved by {response:.2g} of the way to their targets, less than "
            f"{NO_RESPONSE:g}",
        )
    if drift is not None and drift >= TEXT_LOST:
        return verdict(
            "collapsed", f"the answers to the retain prompts moved {drift:.2g} times as far as without any text"
        )
    moved = [
        f"the answers to the {what} prompts moved by {value:.2g} of {scale}"
        for what, value, scale in (("edit", response, "the way to their targets"), ("retain", drift, "what text adds"))
        if value is not None
    ]
    return verdict("ok", " and ".join(moved) or "the edit is sound; there is no prompt to measure it by")


def stored_verdict(folder: Path) -> Verdict | None:
    """Return the verdict in the report of a finished edit; None = it was made before there were verdicts."""
    found = json.loads((folder / REPORT).read_text(encoding="utf-8")).get("verdict")
    return None if found is None else Verdict.model_validate(found)
