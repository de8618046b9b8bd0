"""Go on training the decoder alone, on cached latents; the latent space stays as it is. Then judges can learn from it.

`python -m unlearnbench_emojiworld.train.decoder [--resume] --out DIR`, after `train.text` and `train.cache`. The
encoder takes no part, so a step costs two thirds of one of `train.vae`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn

from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.train.arithmetic import mixed
from unlearnbench_emojiworld.train.cache import Cache
from unlearnbench_emojiworld.train.data import Drawn
from unlearnbench_emojiworld.train.fit import Part, fit, start
from unlearnbench_emojiworld.train.parallel import Processes
from unlearnbench_emojiworld.train.perceptual import Perceptual
from unlearnbench_emojiworld.train.reconstructed import write_reconstructions
from unlearnbench_emojiworld.train.vae import gradient_distance, to_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from unlearnbench_emojiworld.train.fit import Batch

FOLDER = "decoder"


def main() -> None:
    """Train, then write the autoencoder with its better decoder to `<out>/decoder/model`."""
    arguments = parse("train the decoder alone")
    settings = arguments.config.decoder
    start(arguments)
    processes = Processes.join()
    images = Drawn.load(arguments.out / "data", "train").images
    cache = Cache.load(arguments.out / "cache")
    vae = AutoencoderKL.from_pretrained(arguments.out / "vae" / "model")
    trained = nn.ModuleDict({"post_quant_conv": vae.post_quant_conv, "decoder": vae.decoder})
    factor = vae.config.scaling_factor
    perceptual = Perceptual.read(arguments.out, arguments.config) if settings.perceptual_weight else None

    def step(batch: Batch) -> tuple[Tensor, dict[str, float]]:
        chosen = np.sort(batch.numbers.integers(len(images), size=batch.size))
        target = to_tensor(images[chosen])
        mean = cache.mean[chosen]
        latents = (mean + cache.deviation[chosen] * torch.randn_like(mean)) / factor
        with mixed():
            decoded = vae.decoder(vae.post_quant_conv(latents)).float()
        absolute, edges = (decoded - target).abs().mean(), gradient_distance(decoded, target)
        total, told = absolute + settings.gradient_weight * edges, {"l1": absolute.item(), "edges": edges.item()}
        if perceptual is not None:
            seen = perceptual(decoded, target)
            total, told["seen"] = total + settings.perceptual_weight * seen, seen.item()
        return total, told

    fit(Part(FOLDER, trained, step, settings), arguments, processes)
    vae.eval()
    if processes.rank == 0:
        vae.save_pretrained(arguments.out / FOLDER / "model")
    write_reconstructions(vae, arguments.out, processes)
    processes.leave()


if __name__ == "__main__":
    main()
