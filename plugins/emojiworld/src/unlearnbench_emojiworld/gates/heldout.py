"""A judge on renders that no part was trained on, whose subject and style are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from unlearnbench_emojiworld.gates.instrument import share
from unlearnbench_emojiworld.train.config import DataSettings
from unlearnbench_emojiworld.train.data import draw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from unlearnbench.api import Concept
    from unlearnbench_emojiworld.gates.instrument import Judge
    from unlearnbench_emojiworld.world import World


@dataclass(frozen=True)
class HeldoutRenders:
    """Renders with what they show.

    `shows[column]`: id of the subject (column "subject") or style ("style") of each render, [n] strings.
    """

    images: list[Image.Image]
    shows: Mapping[str, NDArray[np.str_]]

    @classmethod
    def make(cls, world: World, count: int, size: int) -> HeldoutRenders:
        """Draw `count` held-out renders of `size` pixels: the same ones every time."""
        drawn = draw(world, DataSettings(renders=1, heldout=count, captions=1, size=size), "heldout")
        subjects, styles = np.array(list(world.subjects)), np.array(list(world.styles))
        return cls(
            [Image.fromarray(picture) for picture in drawn.images],
            {"subject": subjects[drawn.labels[:, 0]], "style": styles[drawn.labels[:, 1]]},
        )


@dataclass(frozen=True)
class JudgedConcept:
    """Share of the renders of a concept that a judge says yes to, and share of all others that it says yes to."""

    concept: str
    sensitivity: float
    false_positive: float


@dataclass(frozen=True)
class JudgeGate:
    """What a judge makes of held-out renders.

    `subjects_named`, `styles_named`: share of renders whose answer is the right class; NaN for a judge that names none.
    `unscored`: answers that were missing, over all questions.
    """

    judge: str
    renders: int
    subjects_named: float
    styles_named: float
    unscored: int
    concepts: list[JudgedConcept]


def judge_gate(judge: Judge, concepts: Mapping[str, Concept], renders: HeldoutRenders) -> JudgeGate:
    """Ask a judge about every concept on every render."""
    judged, named, unscored = [], {"subject": float("nan"), "style": float("nan")}, 0
    for concept in concepts.values():
        column = "style" if concept.kind == "style" else "subject"
        truth = renders.shows[column] == concept.id
        answers = judge.ask(renders.images, concept)
        unscored += answers.unscored
        judged.append(JudgedConcept(concept.id, share(answers.yes[truth]), share(answers.yes[~truth])))
        if all(answer in set(renders.shows[column]) for answer in set(answers.named)):
            named[column] = share(answers.named == renders.shows[column])
    return JudgeGate(judge.name, len(renders.images), named["subject"], named["style"], unscored, judged)
