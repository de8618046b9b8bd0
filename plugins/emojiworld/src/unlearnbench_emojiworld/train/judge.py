"""Train the CLIP judge: another seed, architecture and augmentation than the conditioning encoder's pair.

`python -m unlearnbench_emojiworld.train.judge [--resume] --out DIR`. It sees renders, and when an autoencoder is
trained also renders that went through it; never an image of the generator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL

from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.train.contrastive import Objective, build, prepare, zero_shot
from unlearnbench_emojiworld.train.data import Drawn
from unlearnbench_emojiworld.train.fit import Part, fit, start
from unlearnbench_emojiworld.train.vae import to_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED_OFFSET = 1000


@torch.no_grad()
def through(vae: AutoencoderKL, images: NDArray[np.uint8], batch: int = 64) -> NDArray[np.uint8]:
    """Return pictures as the autoencoder gives them back, uint8 of the same shape."""
    found = np.empty(images.shape, np.uint8)
    for begin in range(0, len(images), batch):
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(to_tensor(images[begin : begin + batch])).latent_dist.sample()
            decoded = vae.decode(latents).sample.float()
        pixels = ((decoded.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
        found[begin : begin + batch] = pixels.permute(0, 2, 3, 1).numpy()
    return found


def with_reconstructions(drawn: Drawn, vae: AutoencoderKL) -> Drawn:
    """Return a split in which every other picture went through the autoencoder."""
    images = np.array(drawn.images)
    images[::2] = through(vae, images[::2])
    return Drawn(images, drawn.labels, drawn.captions, drawn.mentions)


def main() -> None:
    """Train and print zero-shot accuracies on held-out pictures; `train.export` writes the model folder."""
    arguments = parse("train the CLIP judge")
    settings = arguments.config.judge
    start(arguments.config.seed + SEED_OFFSET)
    drawn, heldout, texts, tokenizer = prepare(arguments.out)
    if (arguments.out / "vae" / "model").exists():
        vae = AutoencoderKL.from_pretrained(arguments.out / "vae" / "model").eval()
        drawn = with_reconstructions(drawn, vae)
    pair = build(settings, tokenizer, arguments.config.tokenizer.positions, arguments.config.data.size)
    fit(Part("judge", pair, Objective(pair, drawn, texts, settings), settings, weight_decay=0.1), arguments)
    for name, column, classes in (("subject", 0, texts.subjects), ("style", 1, texts.styles)):
        found = zero_shot(pair, heldout.images, classes)
        print(f"zero-shot {name} accuracy {(found == heldout.labels[:, column]).mean():.3f}")


if __name__ == "__main__":
    main()
