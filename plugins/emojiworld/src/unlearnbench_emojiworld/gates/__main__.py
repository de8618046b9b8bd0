"""Measure what the weights must reach before any method is compared on them.

`python -m unlearnbench_emojiworld.gates --out reports/ [--weights DIR]` writes `gates.json`, `gates.md` and grids of
images. It samples and judges as a run of the benchmark does.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from unlearnbench_emojiworld.gates.drawn import (
    concept_gates,
    coverage_gate,
    draw_concepts,
    kappa,
    write_concept_grid,
)
from unlearnbench_emojiworld.gates.heldout import HeldoutRenders, judge_gate
from unlearnbench_emojiworld.gates.instrument import Judge, open_generator, open_suite
from unlearnbench_emojiworld.gates.measured import Measured, Suite, megabytes
from unlearnbench_emojiworld.gates.report import markdown, to_json
from unlearnbench_emojiworld.gates.tasks import attributes_named, planted_gates, skew_gates
from unlearnbench_emojiworld.models import WEIGHTS
from unlearnbench_emojiworld.vocabulary import Vocabulary
from unlearnbench_emojiworld.world import World

if TYPE_CHECKING:
    from unlearnbench.api import Task
    from unlearnbench.run.session import Session
    from unlearnbench_emojiworld.gates.instrument import Generator
    from unlearnbench_emojiworld.vocabulary import Group

# Suite, and the groups of subjects that are sampled in every style for it.
HITS: tuple[tuple[str, tuple[Group, ...]], ...] = (
    ("emoji20", ("general",)),
    ("emoji-moderate", ("neighbour", "harmful")),
)
TIMED = 16  # images


class Bench:
    """Weights, and how much is measured of them.

    Args:
        weights: folder with emoji-sd, judge-clip and perhaps judge-llava.
        out: where grids go.
        images: images a prompt.
        renders: held-out renders for a judge.
    """

    def __init__(self, weights: Path, out: Path, images: int, renders: int) -> None:
        self.weights, self.out, self.images, self.renders = weights, out, images, renders
        self.world = World.load()
        self.generator, self.load_seconds, self.first_seconds = open_generator(self.session("emoji20"))
        self.size = int(self.generator.model.vae.config.sample_size)

    @property
    def has_llava(self) -> bool:
        """Tell whether there is a second judge."""
        return (self.weights / "judge-llava").is_dir()

    def session(self, suite: str) -> Session:
        """Open a suite with these weights."""
        return open_suite(suite, str(self.weights / "emoji-sd"))

    def judge(self, name: str, session: Session, task: Task = "erase") -> Judge:
        """Return an evaluator with these weights' judge."""
        folder = "judge-llava" if name == "llava" else "judge-clip"
        return Judge(name, session.dataset, task, self.weights / folder)

    def hits(self, name: str, groups: tuple[Group, ...]) -> Suite:
        """Measure hit rates, judges and coverage for a suite."""
        session, seeds = self.session(name), range(self.images)
        dataset, concepts = session.dataset, session.suite.forget
        judges = [self.judge(judge, session) for judge in ("clip", "llava") if judge == "clip" or self.has_llava]
        drawn = draw_concepts(self.generator, dataset, concepts, seeds)
        write_concept_grid(drawn, self.images, self.out / f"{name}.png")
        subjects = Vocabulary.load().of_groups(*groups)
        renders = HeldoutRenders.make(self.world, self.renders, self.size, dataset.classes("object"))
        asked = [dataset.concepts[concept] for concept in concepts]
        return Suite(
            suite=name,
            judges=[judge_gate(judge, asked, renders) for judge in judges],
            concepts=[gate for judge in judges for gate in concept_gates(judge, drawn)],
            kappa=kappa(judges[0], judges[1], drawn) if len(judges) == 2 else float("nan"),
            coverage=coverage_gate(judges[0], self.generator, replace(self.world, subjects=subjects), dataset),
        )

    def measure(self) -> Measured:
        """Measure everything."""
        suites = [self.hits(*one) for one in HITS]
        debias, data = self.session("emoji-debias"), self.session("emoji-data")
        attributes = self.judge("clip-attributes", debias, "debias")
        renders = HeldoutRenders.make(self.world, self.renders // 2, self.size, debias.dataset.concepts)
        skew = skew_gates(attributes, self.generator, self.world, range(2 * self.images))
        copies = self.judge("memorisation", data, "data")
        planted = planted_gates(copies, self.generator, self.world, range(4 * self.images))
        parts = {name: getattr(self.generator.model, name) for name in ("unet", "text_encoder", "vae")}
        return Measured(
            sampler=self.session("emoji20").suite.sampler.model_dump(mode="json"),
            images_per_prompt=self.images,
            suites=suites,
            attributes_named=attributes_named(attributes, renders),
            skew=skew,
            planted=planted,
            second_judge=self.has_llava,
            seconds=timed(self.generator),
            load_seconds=self.load_seconds,
            first_load_seconds=self.first_seconds,
            threads=torch.get_num_threads(),
            parameters={name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()},
            megabytes=megabytes(self.weights),
        )


def timed(generator: Generator) -> float:
    """Return the seconds that `TIMED` images of a suite take."""
    before = generator.seconds
    generator.draw(["a picture of a dog"], range(TIMED))
    return generator.seconds - before


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(prog="python -m unlearnbench_emojiworld.gates", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of weights (default: the shipped ones)")
    parser.add_argument("--images-per-prompt", type=int, default=4)
    parser.add_argument("--renders", type=int, default=1040, help="held-out renders for a judge")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    measured = Bench(given.weights, given.out, given.images_per_prompt, given.renders).measure()
    (given.out / "gates.json").write_text(to_json(measured), encoding="utf-8")
    text = markdown(measured)
    (given.out / "gates.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
