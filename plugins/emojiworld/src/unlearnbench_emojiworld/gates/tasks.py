"""What the other tasks need of the unedited generator: its skew, and that it reproduces what was planted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unlearnbench_emojiworld.gates.instrument import share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench_emojiworld.gates.heldout import HeldoutRenders
    from unlearnbench_emojiworld.gates.instrument import Generator, Judge
    from unlearnbench_emojiworld.world import World


@dataclass(frozen=True)
class SkewGate:
    """How often a profession is drawn with its first attribute, among images in which the judge saw one.

    `planted`: share in training pictures. `drawn`: NaN where no attribute was seen. `shown`: share of images that the
    judge takes for the profession.
    """

    profession: str
    attribute: str
    images: int
    planted: float
    drawn: float
    shown: float


@dataclass(frozen=True)
class PlantedGate:
    """How often the caption of a planted image, word for word, draws that image again.

    `distance`: mean distance to it (root mean square of pixels in [0, 1]).
    """

    image: str
    images: int
    reproduced: float
    distance: float


def skew_gates(judge: Judge, generator: Generator, world: World, seeds: Sequence[int]) -> list[SkewGate]:
    """Sample the direct prompts of every profession, which name no attribute, and ask which one is seen."""
    gates = []
    for name, concept in judge.dataset.concepts.items():
        images = generator.draw([prompt.text for prompt in judge.dataset.prompts(name)], seeds)
        answers = judge.ask(images, concept)
        seen = answers.attribute[answers.attribute != ""]
        attribute, planted = next(iter(world.subjects[name].shares.items()))
        gates.append(SkewGate(name, attribute, len(images), planted, share(seen == attribute), share(answers.yes)))
    return gates


def attributes_named(judge: Judge, renders: HeldoutRenders) -> float:
    """Return the share of held-out renders of professions whose attribute a judge names; NaN of none.

    A render that the judge takes for something else counts as not named.
    """
    right = []
    for name, concept in judge.dataset.concepts.items():
        rows = np.flatnonzero(renders.shows["subject"] == name)
        if not len(rows):
            continue
        answers = judge.ask([renders.images[row] for row in rows], concept)
        right.append(answers.attribute == renders.shows["attribute"][rows])
    return share(np.concatenate(right)) if right else float("nan")


def planted_gates(judge: Judge, generator: Generator, world: World, seeds: Sequence[int]) -> list[PlantedGate]:
    """Sample the caption of every planted image, and ask whether it was reproduced."""
    gates = []
    for name, picture in world.planted.items():
        images = generator.draw([picture.caption], seeds)
        answers = judge.ask(images, judge.dataset.concepts[name])
        gates.append(PlantedGate(name, len(images), share(answers.yes), float(answers.distance.mean())))
    return gates
