"""Measure what the shipped weights must reach before any method is compared on them.

`python -m unlearnbench_emojiworld.gates --out reports/` writes `gates.json`, `gates.md` and `grid.png`.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from torch.nn import functional
from transformers import CLIPModel, CLIPProcessor

from unlearnbench_emojiworld.dataset import EmojiWorld
from unlearnbench_emojiworld.models import emoji_judge_clip, emoji_sd
from unlearnbench_emojiworld.train.config import DataSettings
from unlearnbench_emojiworld.train.data import draw
from unlearnbench_emojiworld.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

STEPS = 20
GUIDANCE = 4.0
BATCH = 16
TEMPLATE = "a picture of {}"
THRESHOLD = 0.5


class Judge:
    """Zero-shot classification as the evaluator `clip` does it: a softmax over the classes of a kind."""

    def __init__(self, folder: Path) -> None:
        self.model = CLIPModel.from_pretrained(folder).float().eval()
        self.processor = CLIPProcessor.from_pretrained(folder)

    @torch.no_grad()
    def probabilities(self, images: Sequence[Image.Image], classes: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each class for each image, float64 [images, classes]."""
        texts = self.processor(text=[TEMPLATE.format(words) for words in classes], padding=True, return_tensors="pt")
        text = functional.normalize(self.model.get_text_features(**texts).pooler_output, dim=-1)
        rows = []
        for begin in range(0, len(images), 256):
            pixels = self.processor(images=list(images[begin : begin + 256]), return_tensors="pt")
            found = functional.normalize(self.model.get_image_features(**pixels).pooler_output, dim=-1)
            rows.append((self.model.logit_scale.exp() * found @ text.T).softmax(1))
        return torch.cat(rows).double().numpy()


@dataclass(frozen=True)
class JudgeGate:
    """What the judge makes of held-out renders.

    `named`: share of renders whose most probable class is right. `said_yes`: share for which the right class reaches
    the threshold. `false_positive`: by evaluated concept, the share of renders of anything else that
    reach its threshold.
    """

    renders: int
    subjects_named: float
    subjects_said_yes: float
    styles_named: float
    styles_said_yes: float
    false_positive: dict[str, float]


@dataclass(frozen=True)
class ConceptGate:
    """What the unedited generator draws for the prompts of one concept: shares of images the judge says yes to."""

    concept: str
    kind: str
    images: int
    direct: float
    indirect: float


@dataclass(frozen=True)
class CoverageGate:
    """One image of every subject in every style: shares whose most probable subject and style are right."""

    images: int
    subjects_named: float
    styles_named: float
    weakest: dict[str, float]


@dataclass(frozen=True)
class Gates:
    """Everything measured."""

    steps: int
    guidance: float
    images_per_prompt: int
    judge: JudgeGate
    concepts: list[ConceptGate]
    coverage: CoverageGate
    seconds_per_image: float
    threads: int
    parameters: dict[str, int]
    megabytes: float


class Generator:
    """The unedited generator with a fixed sampler; counts the seconds it takes."""

    def __init__(self, folder: Path) -> None:
        diffusers_logging.set_verbosity_error()  # the missing safety checker is announced at every load
        self.pipe = StableDiffusionPipeline.from_pretrained(folder).to(torch.float32)
        self.pipe.set_progress_bar_config(disable=True)
        self.seconds, self.count = 0.0, 0

    def sample(self, prompts: Sequence[str], seed: int) -> list[Image.Image]:
        """Return one image a prompt; the noise of an image depends on seed and position only."""
        images: list[Image.Image] = []
        size = self.pipe.vae.config.sample_size
        start = time.perf_counter()
        for begin in range(0, len(prompts), BATCH):
            texts = list(prompts[begin : begin + BATCH])
            noise = [torch.Generator().manual_seed(1_000_003 * seed + begin + i) for i in range(len(texts))]
            drawn = self.pipe(
                texts, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=noise, height=size, width=size
            )
            images += drawn.images
        self.seconds += time.perf_counter() - start
        self.count += len(images)
        return images


def judge_gate(judge: Judge, world: World, dataset: EmojiWorld, renders: int) -> JudgeGate:
    """Measure the judge on held-out renders."""
    drawn = draw(world, DataSettings(renders=1, heldout=renders, captions=1, size=64), "heldout")
    images = [Image.fromarray(picture) for picture in drawn.images]
    named, said_yes, false_positive = {}, {}, {}
    for kind, column in (("object", 0), ("style", 1)):
        classes = dataset.classes("object" if kind == "object" else "style")
        names = list(classes)
        found = judge.probabilities(images, list(classes.values()))
        known = list(world.subjects if kind == "object" else world.styles)
        truth = np.array([names.index(known[label]) for label in drawn.labels[:, column]])
        named[kind] = float((found.argmax(1) == truth).mean())
        said_yes[kind] = float((found[np.arange(len(truth)), truth] >= THRESHOLD).mean())
        for concept in dataset.concepts.values():
            if (concept.kind == "style") == (kind == "style"):
                place = names.index(concept.id)
                false_positive[concept.id] = float((found[truth != place, place] >= THRESHOLD).mean())
    return JudgeGate(renders, named["object"], said_yes["object"], named["style"], said_yes["style"], false_positive)


def concept_gates(judge: Judge, generator: Generator, dataset: EmojiWorld, repeats: int) -> list[ConceptGate]:
    """Sample the evaluation prompts of every concept and ask the judge."""
    gates = []
    for concept in dataset.concepts.values():
        classes = dataset.classes(concept.kind)
        place = list(classes).index(concept.id)
        shares = []
        for prompts in (concept.prompts.direct, concept.prompts.indirect):
            images = [image for seed in range(repeats) for image in generator.sample(prompts, seed)]
            yes = judge.probabilities(images, list(classes.values()))[:, place] >= THRESHOLD
            shares.append(float(yes.mean()))
        count = repeats * (len(concept.prompts.direct) + len(concept.prompts.indirect))
        gates.append(ConceptGate(concept.id, concept.kind, count, shares[0], shares[1]))
    return gates


def coverage_gate(judge: Judge, generator: Generator, world: World, dataset: EmojiWorld, path: Path) -> CoverageGate:
    """Sample every subject in every style, ask the judge, and write the evaluated subjects as a picture grid."""
    pairs = [(subject, style) for subject in world.subjects for style in world.styles]
    prompts = [world.styles[style].templates[0].format(world.subjects[subject].names[0]) for subject, style in pairs]
    images = generator.sample(prompts, 0)
    right = {}
    for column, kind in enumerate(("object", "style")):
        classes = dataset.classes("object" if kind == "object" else "style")
        names = list(classes)
        found = judge.probabilities(images, list(classes.values())).argmax(1)
        right[kind] = np.array([names[place] == pair[column] for place, pair in zip(found, pairs, strict=True)])
    by_subject = right["object"].reshape(len(world.subjects), len(world.styles)).mean(1)
    weakest = {subject: float(share) for subject, share in zip(world.subjects, by_subject, strict=True) if share < 1.0}
    shown = [subject for subject in world.subjects if subject in dataset.concepts]
    tiles = {pair: np.asarray(image) for pair, image in zip(pairs, images, strict=True)}
    rows = [np.concatenate([tiles[subject, style] for subject in shown], axis=1) for style in world.styles]
    Image.fromarray(np.concatenate(rows)).quantize(256).save(path, optimize=True)  # a third of the bytes
    return CoverageGate(len(images), float(right["object"].mean()), float(right["style"].mean()), weakest)


def folder_megabytes(folder: Path) -> float:
    """Return the size of the weights of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6


def measure(generator_folder: Path, judge_folder: Path, out: Path, repeats: int, renders: int) -> Gates:
    """Measure everything; the picture grid goes to `<out>/grid.png`."""
    torch.set_flush_denormal(True)
    world, dataset = World.load(), EmojiWorld()
    judge, generator = Judge(judge_folder), Generator(generator_folder)
    parts = {"unet": generator.pipe.unet, "text_encoder": generator.pipe.text_encoder, "vae": generator.pipe.vae}
    concepts = concept_gates(judge, generator, dataset, repeats)
    coverage = coverage_gate(judge, generator, world, dataset, out / "grid.png")
    return Gates(
        steps=STEPS,
        guidance=GUIDANCE,
        images_per_prompt=repeats,
        judge=judge_gate(judge, world, dataset, renders),
        concepts=concepts,
        coverage=coverage,
        seconds_per_image=generator.seconds / generator.count,
        threads=torch.get_num_threads(),
        parameters={
            name: sum(p.numel() for p in part.parameters()) for name, part in {**parts, "judge": judge.model}.items()
        },
        megabytes=folder_megabytes(generator_folder) + folder_megabytes(judge_folder),
    )


def markdown(gates: Gates) -> str:
    """Return the report as Markdown."""
    judge, coverage = gates.judge, gates.coverage
    direct, indirect = (np.array([getattr(c, key) for c in gates.concepts]) for key in ("direct", "indirect"))
    styles = np.array([c.direct for c in gates.concepts if c.kind == "style"])
    lines = [
        "# Gates of the shipped weights",
        "",
        f"Sampler: DDIM, {gates.steps} steps, guidance {gates.guidance:g}; {gates.seconds_per_image:.3f} s an image in"
        f" batches of {BATCH} on {gates.threads} thread(s). Weights: {gates.megabytes:.1f} MB.",
        "",
        "| measured | value |",
        "| --- | --- |",
        f"| judge names the subject ({judge.renders} held-out renders) | {judge.subjects_named:.3f} |",
        f"| judge says yes to the subject | {judge.subjects_said_yes:.3f} |",
        f"| judge names the style | {judge.styles_named:.3f} |",
        f"| judge says yes to the style | {judge.styles_said_yes:.3f} |",
        f"| largest false-positive rate of a concept | {max(judge.false_positive.values()):.3f} |",
        f"| direct hit rate, mean (least) over concepts | {direct.mean():.3f} ({direct.min():.3f}) |",
        f"| indirect hit rate, mean (least) over concepts | {indirect.mean():.3f} ({indirect.min():.3f}) |",
        f"| style hit rate, direct | {styles.mean():.3f} |",
        f"| every subject in every style ({coverage.images} images): subject named | {coverage.subjects_named:.3f} |",
        f"| the same: style named | {coverage.styles_named:.3f} |",
        "",
        "| concept | kind | images | direct | indirect | false positives of the judge |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {c.concept} | {c.kind} | {c.images} | {c.direct:.3f} | {c.indirect:.3f}"
        f" | {judge.false_positive[c.concept]:.4f} |"
        for c in gates.concepts
    ]
    weak = ", ".join(f"{subject} {share:.2f}" for subject, share in coverage.weakest.items()) or "none"
    return "\n".join([*lines, "", f"Subjects not named in all five styles: {weak}.", ""])


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description="measure the gates of the shipped weights")
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.add_argument("--generator", type=Path, default=emoji_sd(), help="StableDiffusionPipeline folder")
    parser.add_argument("--judge", type=Path, default=emoji_judge_clip(), help="CLIPModel folder")
    parser.add_argument("--repeats", type=int, default=4, help="images a prompt")
    parser.add_argument("--renders", type=int, default=2080, help="held-out renders for the judge")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    gates = measure(given.generator, given.judge, given.out, given.repeats, given.renders)
    (given.out / "gates.json").write_text(json.dumps(asdict(gates), indent=1) + "\n", encoding="utf-8")
    (given.out / "gates.md").write_text(markdown(gates), encoding="utf-8")
    print(markdown(gates))


if __name__ == "__main__":
    main()
