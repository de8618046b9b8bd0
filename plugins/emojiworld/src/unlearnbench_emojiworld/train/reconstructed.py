"""Renders as the autoencoder gives them back: judges see generated images, which all come out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from unlearnbench_emojiworld.train.arithmetic import mixed
from unlearnbench_emojiworld.train.data import Drawn
from unlearnbench_emojiworld.train.vae import to_tensor

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import AutoencoderKL
    from numpy.typing import NDArray

    from unlearnbench_emojiworld.train.parallel import Processes

SHARE = 4  # one picture in so many went through the autoencoder
FOLDER = "reconstructed"


@torch.no_grad()
def through(vae: AutoencoderKL, images: NDArray[np.uint8], batch: int = 64) -> NDArray[np.uint8]:
    """Return pictures as the autoencoder gives them back, uint8 of the same shape."""
    found = np.empty(images.shape, np.uint8)
    for begin in range(0, len(images), batch):
        with mixed():
            latents = vae.encode(to_tensor(images[begin : begin + batch])).latent_dist.sample()
            decoded = vae.decode(latents).sample.float()
        pixels = ((decoded.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
        found[begin : begin + batch] = pixels.permute(0, 2, 3, 1).numpy()
    return found


def write_reconstructions(vae: AutoencoderKL, out: Path, processes: Processes) -> None:
    """Put one in `SHARE` of the judges' pictures through the autoencoder; every process writes a part of them."""
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    drawn = Drawn.for_judges(out / "data")
    rows = np.arange(0, len(drawn.images), SHARE)[processes.rank :: processes.count]
    np.savez(folder / f"part-{processes.rank}.npz", rows=rows, images=through(vae, drawn.images[rows]))


def judges_pictures(out: Path) -> Drawn:
    """Return what judges learn from, with the pictures of `write_reconstructions` in place of their renders."""
    drawn = Drawn.for_judges(out / "data")
    images = np.array(drawn.images)
    for path in sorted((out / FOLDER).glob("part-*.npz")):
        with np.load(path) as part:
            images[part["rows"]] = part["images"]
    return Drawn(images, drawn.labels, drawn.captions, drawn.mentions)
