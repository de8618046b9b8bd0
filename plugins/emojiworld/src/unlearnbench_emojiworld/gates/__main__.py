"""Measure what the shipped weights must reach before any method is compared on them.

`python -m unlearnbench_emojiworld.gates --out reports/` writes `gates.json`, `gates.md` and `grid.png`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from unlearnbench_emojiworld.gates.drawn import concept_gates, coverage_gate
from unlearnbench_emojiworld.gates.heldout import HeldoutRenders, judge_gate
from unlearnbench_emojiworld.gates.instrument import Judge, open_suite
from unlearnbench_emojiworld.gates.report import Gates, markdown, megabytes, to_json
from unlearnbench_emojiworld.models import emoji_judge_clip
from unlearnbench_emojiworld.world import World


def measure(model: str | None, judge_name: str, out: Path, images_per_prompt: int, renders: int) -> Gates:
    """Measure everything; the picture grid goes to `<out>/grid.png`."""
    torch.set_flush_denormal(True)
    world = World.load()
    session, generator = open_suite(model)
    judge = Judge(judge_name, session.dataset)
    size = generator.model.vae.config.sample_size
    concepts = concept_gates(judge, generator, session.dataset, range(images_per_prompt))
    coverage = coverage_gate(judge, generator, world, session.dataset, out / "grid.png")
    heldout = judge_gate(judge, session.dataset.concepts, HeldoutRenders.make(world, renders, size))
    parts = {name: getattr(generator.model, name) for name in ("unet", "text_encoder", "vae")}
    return Gates(
        suite=session.suite.name,
        sampler=session.suite.sampler.model_dump(mode="json"),
        images_per_prompt=images_per_prompt,
        judge=heldout,
        concepts=concepts,
        coverage=coverage,
        seconds_per_image=generator.seconds / generator.images,
        threads=torch.get_num_threads(),
        parameters={name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()},
        megabytes=megabytes(session.folder) + megabytes(emoji_judge_clip()),
    )


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description="measure the gates of the shipped weights")
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.add_argument("--model", help="StableDiffusionPipeline folder, or name of a shipped model")
    parser.add_argument("--judge", default="clip", help="evaluator")
    parser.add_argument("--images-per-prompt", type=int, default=4)
    parser.add_argument("--renders", type=int, default=2080, help="held-out renders for the judge")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    gates = measure(given.model, given.judge, given.out, given.images_per_prompt, given.renders)
    (given.out / "gates.json").write_text(to_json(gates), encoding="utf-8")
    (given.out / "gates.md").write_text(markdown(gates), encoding="utf-8")
    print(markdown(gates))


if __name__ == "__main__":
    main()
