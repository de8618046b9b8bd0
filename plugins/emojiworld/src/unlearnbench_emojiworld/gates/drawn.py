"""What the unedited generator draws, in the eyes of judges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unlearnbench.calibration.agreement import agree
from unlearnbench_emojiworld.gates.grid import write_grid
from unlearnbench_emojiworld.gates.instrument import share

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from unlearnbench.api import Concept, ConceptDataset, Prompt
    from unlearnbench_emojiworld.gates.instrument import Generator, Judge
    from unlearnbench_emojiworld.world import World

QUESTIONS_EACH = 2  # for agreement: every image is asked about its own concept and about the next one


@dataclass(frozen=True)
class DrawnConcept:
    """The images of one concept's evaluation prompts: all seeds of the first prompt, then of the second ..."""

    concept: Concept
    prompts: tuple[Prompt, ...]
    images: list[Image.Image]


@dataclass(frozen=True)
class ConceptGate:
    """What the unedited generator draws for the prompts of one concept: shares of images the judge says yes to.

    `indirect` is NaN for a concept without indirect prompts.
    """

    judge: str
    concept: str
    kind: str
    images: int
    direct: float
    indirect: float


@dataclass(frozen=True)
class CoverageGate:
    """One image of every subject in every style: shares whose answer is the right subject and the right style.

    `weakest`: the subjects that were not named in all styles, with the share of styles in which they were.
    `confused`: (subject, what was named, how often), the most frequent first.
    """

    images: int
    subjects_named: float
    styles_named: float
    weakest: dict[str, float]
    confused: list[tuple[str, str, int]]


def draw_concepts(
    generator: Generator, dataset: ConceptDataset, concepts: Sequence[str], seeds: Sequence[int]
) -> list[DrawnConcept]:
    """Sample the evaluation prompts of concepts as a run does."""
    found = []
    for name in concepts:
        prompts = dataset.prompts(name)
        images = generator.draw([prompt.text for prompt in prompts], seeds)
        found.append(DrawnConcept(dataset.concepts[name], prompts, images))
    return found


def concept_gates(judge: Judge, drawn: Sequence[DrawnConcept]) -> list[ConceptGate]:
    """Ask a judge whether the images of each concept show it."""
    gates = []
    for one in drawn:
        yes = judge.ask(one.images, one.concept).yes.reshape(len(one.prompts), -1)
        direct, indirect = (
            share(yes[[number for number, prompt in enumerate(one.prompts) if prompt.kind == kind]])
            for kind in ("direct", "indirect")
        )
        gates.append(ConceptGate(judge.name, one.concept.id, one.concept.kind, len(one.images), direct, indirect))
    return gates


def kappa(first: Judge, second: Judge, drawn: Sequence[DrawnConcept]) -> float:
    """Return Cohen's kappa of two judges on generated images.

    Each is asked about the concept of every image and about the next one of the list, so that both answers occur. NaN
    where they do not.
    """
    said: tuple[list[bool], list[bool]] = ([], [])
    for number, one in enumerate(drawn):
        for step in range(QUESTIONS_EACH):
            concept = drawn[(number + step) % len(drawn)].concept
            for judge, answers in zip((first, second), said, strict=True):
                answers.extend(judge.ask(one.images, concept).yes.tolist())
    found = agree(*said, names=(first.name, second.name)).kappa
    return float("nan") if found is None else found


def coverage_gate(judge: Judge, generator: Generator, world: World, dataset: ConceptDataset) -> CoverageGate:
    """Sample every subject of a world in every style, and ask the judge."""
    pairs = [(subject, style) for subject in world.subjects for style in world.styles]
    prompts = [world.styles[style].templates[0].format(world.subjects[subject].names[0]) for subject, style in pairs]
    images = generator.draw(prompts, [0])
    any_of_kind = {concept.kind: concept for concept in dataset.concepts.values()}
    named = judge.ask(images, any_of_kind["object"]).named
    truth = np.array([subject for subject, _ in pairs])
    styles = judge.ask(images, any_of_kind["style"]).named == np.array([style for _, style in pairs])
    by_subject = (named == truth).reshape(len(world.subjects), len(world.styles)).mean(1)
    weakest = {subject: float(part) for subject, part in zip(world.subjects, by_subject, strict=True) if part < 1.0}
    return CoverageGate(
        len(images), share(named == truth), share(styles), weakest, confusions(truth.tolist(), named.tolist())
    )


def confusions(truth: Sequence[str], named: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return what was taken for what, and how often, the most frequent first: the confusion matrix off its diagonal."""
    counts: dict[tuple[str, str], int] = {}
    for one, other in zip(truth, named, strict=True):
        if one != other:
            counts[str(one), str(other)] = counts.get((str(one), str(other)), 0) + 1
    return [(one, other, count) for (one, other), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def write_concept_grid(drawn: Sequence[DrawnConcept], per_prompt: int, path: Path) -> None:
    """Write the first image of every prompt, one row a concept."""
    shortest = min(len(one.prompts) for one in drawn)
    write_grid([one.images[::per_prompt][:shortest] for one in drawn], path)
