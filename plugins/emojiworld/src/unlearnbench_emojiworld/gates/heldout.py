"""A judge on renders that no part was trained on, whose subject and style are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from unlearnbench_emojiworld.gates.drawn import confusions
from unlearnbench_emojiworld.gates.instrument import share
from unlearnbench_emojiworld.train.config import DataSettings
from unlearnbench_emojiworld.train.data import NO_ATTRIBUTE, draw

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from unlearnbench.api import Concept
    from unlearnbench_emojiworld.gates.instrument import Judge
    from unlearnbench_emojiworld.world import World


@dataclass(frozen=True)
class HeldoutRenders:
    """Renders with what they show.

    `shows[column]`: id of the subject (column "subject"), style ("style") or attribute ("attribute", '' = none) of each
    render, [n] strings.
    """

    images: list[Image.Image]
    shows: Mapping[str, NDArray[np.str_]]

    @classmethod
    def make(cls, world: World, count: int, size: int, subjects: Collection[str] | None = None) -> HeldoutRenders:
        """Draw `count` held-out renders of `size` pixels, of some subjects or of all: the same ones every time."""
        if subjects is not None:
            kept = {name: subject for name, subject in world.subjects.items() if name in subjects}
            world = replace(world, subjects=kept)
        settings = DataSettings(renders=1, heldout=count, planted=0, captions=1, size=size)
        drawn = draw(world, settings, "heldout")
        names = [np.array(list(part)) for part in (world.subjects, world.styles)]
        attributes = np.array(["", *world.attributes])
        return cls(
            [Image.fromarray(picture) for picture in drawn.images],
            {
                "subject": names[0][drawn.labels[:, 0]],
                "style": names[1][drawn.labels[:, 1]],
                "attribute": attributes[drawn.labels[:, 3] - NO_ATTRIBUTE],
            },
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
    `unscored`: answers that were missing, over all questions. `confused`: (subject, what was named, how often).
    """

    judge: str
    renders: int
    subjects_named: float
    styles_named: float
    unscored: int
    concepts: list[JudgedConcept]
    confused: list[tuple[str, str, int]]


def judge_gate(judge: Judge, concepts: Sequence[Concept], renders: HeldoutRenders) -> JudgeGate:
    """Ask a judge about some concepts on every render."""
    judged, named, unscored = [], {"subject": float("nan"), "style": float("nan")}, 0
    confused: list[tuple[str, str, int]] = []
    for concept in concepts:
        column = "style" if concept.kind == "style" else "subject"
        truth = renders.shows[column] == concept.id
        answers = judge.ask(renders.images, concept)
        unscored += answers.unscored
        judged.append(JudgedConcept(concept.id, share(answers.yes[truth]), share(answers.yes[~truth])))
        if set(answers.named) & set(renders.shows[column]):
            named[column] = share(answers.named == renders.shows[column])
            if column == "subject":
                confused = confusions(renders.shows[column].tolist(), answers.named.tolist())
    return JudgeGate(judge.name, len(renders.images), named["subject"], named["style"], unscored, judged, confused)
