"""What the unedited generator draws, in the eyes of a judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from unlearnbench_emojiworld.gates.instrument import share

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from unlearnbench.api import ConceptDataset
    from unlearnbench_emojiworld.gates.instrument import Generator, Judge
    from unlearnbench_emojiworld.world import World


@dataclass(frozen=True)
class ConceptGate:
    """What the unedited generator draws for the prompts of one concept: shares of images the judge says yes to.

    `indirect` is NaN for a concept without indirect prompts.
    """

    concept: str
    kind: str
    images: int
    direct: float
    indirect: float


@dataclass(frozen=True)
class CoverageGate:
    """One image of every subject in every style: shares whose answer is the right subject and the right style.

    `weakest`: the subjects that were not named in all styles, with the share of styles in which they were.
    """

    images: int
    subjects_named: float
    styles_named: float
    weakest: dict[str, float]


def concept_gates(
    judge: Judge, generator: Generator, dataset: ConceptDataset, seeds: Sequence[int]
) -> list[ConceptGate]:
    """Sample the evaluation prompts of every concept as a run does, and ask the judge."""
    gates = []
    for concept in dataset.concepts.values():
        prompts = dataset.prompts(concept.id)
        images = generator.draw([prompt.text for prompt in prompts], seeds)
        yes = judge.ask(images, concept).yes.reshape(len(prompts), len(seeds))
        shares = {}
        for kind in ("direct", "indirect"):
            rows = [number for number, prompt in enumerate(prompts) if prompt.kind == kind]
            shares[kind] = share(yes[rows])
        gates.append(ConceptGate(concept.id, concept.kind, len(images), shares["direct"], shares["indirect"]))
    return gates


def coverage_gate(
    judge: Judge, generator: Generator, world: World, dataset: ConceptDataset, grid: Path
) -> CoverageGate:
    """Sample every subject in every style, ask the judge, and write the evaluated subjects as a picture grid."""
    pairs = [(subject, style) for subject in world.subjects for style in world.styles]
    prompts = [world.styles[style].templates[0].format(world.subjects[subject].names[0]) for subject, style in pairs]
    images = generator.draw(prompts, [0])
    any_of_kind = {concept.kind: concept for concept in dataset.concepts.values()}
    subjects = judge.ask(images, any_of_kind["object"]).named == np.array([subject for subject, _ in pairs])
    styles = judge.ask(images, any_of_kind["style"]).named == np.array([style for _, style in pairs])
    by_subject = subjects.reshape(len(world.subjects), len(world.styles)).mean(1)
    weakest = {subject: float(share) for subject, share in zip(world.subjects, by_subject, strict=True) if share < 1.0}
    write_grid(
        [[images[pairs.index((subject, style))] for subject in world.subjects if subject in dataset.concepts]
         for style in world.styles], grid,
    )  # fmt: skip
    return CoverageGate(len(images), share(subjects), share(styles), weakest)


def write_grid(rows: Sequence[Sequence[Image.Image]], path: Path) -> None:
    """Write images of one size as a grid, enlarged twice, with a palette (a third of the bytes)."""
    picture = np.concatenate([np.concatenate([np.asarray(image) for image in row], axis=1) for row in rows])
    large = Image.fromarray(picture.repeat(2, axis=0).repeat(2, axis=1))
    large.quantize(256).save(path, optimize=True)
