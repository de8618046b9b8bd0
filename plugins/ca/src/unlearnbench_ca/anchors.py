"""Anchor images: made once by the unedited model, kept as files, read and encoded when they are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image

from unlearnbench.editing.images import pixels_of
from unlearnbench.identity import digest
from unlearnbench.sampling import sample
from unlearnbench.spec import SamplerSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from unlearnbench.api import EditContext, ForgetConcept
    from unlearnbench.model import Model
    from unlearnbench_ca.params import CAParams

BATCH = 8  # images of one call of the sampler


def make_images(
    model: Model, concept: ForgetConcept, prompts: Sequence[str], params: CAParams, ctx: EditContext
) -> list[tuple[int, Path]]:
    """Sample anchor images of one concept into `ctx.tmp`, and return the prompt number and file of each.

    Prompts take turns. Images that are there already, from an earlier call with the same folder, are not made again.

    Args:
        model: the unedited model.
        concept: what is ablated.
        prompts: its anchor prompts.
        params: parameters of Concept Ablation.
        ctx: where seeds come from and images go.
    """
    generator = ctx.generator("anchor images", concept.id)
    order = torch.randperm(len(prompts), generator=generator)[: params.images].tolist()
    rounds = -(-params.images // len(order))
    seeds = torch.randint(2**31, (rounds,), generator=generator).tolist()
    spec = SamplerSpec(scheduler="dpm++", steps=params.image_steps, guidance=params.image_guidance)
    negative = concept.name if params.exclude_concept else None
    what = {"model": model.info.fingerprint, "prompts": list(prompts), "sampler": spec, "negative": negative}
    folder = ctx.tmp / "anchors" / digest(what).partition(":")[2]
    folder.mkdir(parents=True, exist_ok=True)
    found: list[tuple[int, Path]] = []
    for number in ctx.progress(range(rounds), f"anchor images of {concept.id}"):
        numbers = order[: params.images - number * len(order)]
        files = [folder / f"{seeds[number]}-{prompt}.png" for prompt in numbers]
        if not all(file.exists() for file in files):
            texts = [prompts[prompt] for prompt in numbers]
            images = sample(model, texts, [seeds[number]], spec, negative_prompt=negative, batch_size=BATCH)
            for image, file in zip(images, files, strict=True):
                image.save(file)
        found += zip(numbers, files, strict=True)
    return found


def read_image(file: Path) -> torch.Tensor:
    """Read an image as [3, s, s] in [-1, 1]."""
    with Image.open(file) as image:
        return pixels_of(image.convert("RGB"))
