"""Grids of samples, drawn every few minutes while the noise predictor is trained: to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from transformers import CLIPTextModel

from unlearnbench_emojiworld.gates.grid import write_grid
from unlearnbench_emojiworld.train.contrastive import read_tokenizer
from unlearnbench_emojiworld.train.schedule import SCHEDULE

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from unlearnbench_emojiworld.train.config import TrainConfig
    from unlearnbench_emojiworld.train.fit import Part

STEPS, GUIDANCE, SEED = 12, 4.0, 0
SUBJECTS = ("apple", "dog", "walking", "sunset", "knife", "mechanic", "doctor", "poodle")


class Grids:
    """Draws `<out>/grids/unet-<step>.png`: a row for each style, then one of descriptions, then the planted pictures.

    Args:
        out: folder of the training, in which text encoder and autoencoder are trained already.
        config: settings.
    """

    def __init__(self, out: Path, config: TrainConfig) -> None:
        self.out, self.config = out, config
        self._next: float | None = None

    def __call__(self, part: Part) -> None:
        """Draw a grid with the averaged weights if it is time for one."""
        interval = 60.0 * self.config.unet.grid_minutes
        if self._next is None:
            self._next = part.seconds + interval
        if part.seconds >= self._next:
            self._next = part.seconds + interval
            (self.out / "grids").mkdir(exist_ok=True)
            write_grid(self.draw(part.averaged or part.module), self.out / "grids" / f"unet-{part.step:06d}.png")

    def prompts(self) -> list[list[str]]:
        """Return the prompts, row by row, all rows equally long."""
        world = self.config.world()
        names = [name for name in SUBJECTS if name in world.subjects]
        rows = [
            [style.templates[0].format(world.subjects[name].names[0]) for name in names]
            for style in world.styles.values()
        ]
        rows.append([world.subjects[name].indirect[0] for name in names])
        planted = [picture.caption for picture in world.planted.values()] or [""]
        rows.append([planted[column % len(planted)] for column in range(len(names))])
        return rows

    @torch.no_grad()
    def draw(self, unet: torch.nn.Module) -> list[list[Image.Image]]:
        """Sample every prompt once, with the same noise each time."""
        better = self.out / "decoder" / "model"
        pipe = StableDiffusionPipeline(
            vae=AutoencoderKL.from_pretrained(better if better.exists() else self.out / "vae" / "model"),
            text_encoder=CLIPTextModel.from_pretrained(self.out / "text" / "model"),
            tokenizer=read_tokenizer(self.out),
            unet=unet,
            scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipe.set_progress_bar_config(disable=True)
        rows = self.prompts()
        size = self.config.data.size
        images: list[Image.Image] = pipe(
            [prompt for row in rows for prompt in row],
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            height=size,
            width=size,
            generator=torch.Generator().manual_seed(SEED),
        ).images
        width = len(rows[0])
        return [images[begin : begin + width] for begin in range(0, len(images), width)]
