"""Train the autoencoder, after `train.text`, whose vision tower tells what looks alike.

`python -m unlearnbench_emojiworld.train.vae [--resume] --out DIR`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL

from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.train.arithmetic import mixed
from unlearnbench_emojiworld.train.data import Drawn
from unlearnbench_emojiworld.train.fit import Part, fit, start
from unlearnbench_emojiworld.train.parallel import Processes
from unlearnbench_emojiworld.train.warm import GENERATOR, gentle, is_taken, warm

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from unlearnbench_emojiworld.train.config import VaeSettings
    from unlearnbench_emojiworld.train.fit import Batch
    from unlearnbench_emojiworld.train.perceptual import Perceptual

LATENT_CHANNELS = 4
SCALING_SAMPLES = 2048


def build(settings: VaeSettings, size: int) -> AutoencoderKL:
    """Return an untrained autoencoder: three levels shrink 64 px to 16 x 16 latents of 4 channels."""
    levels = len(settings.channels)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=LATENT_CHANNELS,
        block_out_channels=settings.channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        norm_num_groups=16,
        sample_size=size,
        mid_block_add_attention=False,
        force_upcast=False,
    )


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Turn uint8 [n, h, w, 3] into float32 [n, 3, h, w] from -1 to 1."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1.0)


def gradient_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the L1 distance of horizontal and vertical differences, which keeps edges sharp."""
    difference = a - b
    across = (difference[..., 1:] - difference[..., :-1]).abs().mean()
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    return across + down


def loss(
    vae: AutoencoderKL, images: Tensor, settings: VaeSettings, perceptual: Perceptual | None = None
) -> tuple[Tensor, dict[str, float]]:
    """Return L1 + gradient L1 + mean divergence of a latent element from the standard normal + perceptual distance."""
    with mixed():
        moments = vae.quant_conv(vae.encoder(images))
        mean, log_variance = moments.float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-30.0, 20.0)
        latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        decoded = vae.decoder(vae.post_quant_conv(latents)).float()
    absolute = (decoded - images).abs().mean()
    edges = gradient_distance(decoded, images)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
    total = absolute + settings.gradient_weight * edges + settings.kl_weight * divergence
    figures = {"l1": absolute.item(), "edges": edges.item(), "kl": divergence.item()}
    if perceptual is not None:
        seen = perceptual(decoded, images)
        total, figures["seen"] = total + settings.perceptual_weight * seen, seen.item()
    return total, figures


@torch.no_grad()
def encode(vae: AutoencoderKL, images: NDArray[np.uint8], batch: int = 64) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the latents, float32 [n, 4, h/4, w/4], not scaled."""
    means, deviations = [], []
    for begin in range(0, len(images), batch):
        with mixed():
            latents = vae.encode(to_tensor(images[begin : begin + batch])).latent_dist
        means.append(latents.mean.float())
        deviations.append(latents.std.float())
    return torch.cat(means), torch.cat(deviations)


def finish(vae: AutoencoderKL, images: NDArray[np.uint8]) -> AutoencoderKL:
    """Store the factor that gives sampled latents unit deviation in the configuration."""
    mean, deviation = encode(vae, images[:: max(1, len(images) // SCALING_SAMPLES)])
    spread = torch.sqrt(mean.var() + deviation.square().mean())
    vae.register_to_config(scaling_factor=round(1.0 / spread.item(), 5))
    return vae


def main() -> None:
    """Train, then write the autoencoder to `<out>/vae/model`; or copy it from the weights that were named."""
    # perceptual imports contrastive, which takes `to_tensor` from here.
    from unlearnbench_emojiworld.train.perceptual import Perceptual

    arguments = parse("train the autoencoder")
    settings, folder = arguments.config.vae, arguments.out / "vae" / "model"
    start(arguments)
    if arguments.start is not None and is_taken(arguments.start, arguments.config, "vae"):
        taken = AutoencoderKL.from_pretrained(arguments.start / GENERATOR / "vae", torch_dtype=torch.float32)
        taken.save_pretrained(folder)
        return
    processes = Processes.join()
    images = Drawn.load(arguments.out / "data", "train").images
    vae = build(settings, arguments.config.data.size)
    warm(vae, arguments, "vae")
    perceptual = Perceptual.read(arguments.out, arguments.config) if settings.perceptual_weight else None

    def step(batch: Batch) -> tuple[Tensor, dict[str, float]]:
        chosen = np.sort(batch.numbers.integers(len(images), size=batch.size))
        return loss(vae, to_tensor(images[chosen]), settings, perceptual)

    fit(Part("vae", vae, step, gentle(settings, arguments, "vae")), arguments, processes)
    if processes.rank == 0:
        finish(vae.eval(), images).save_pretrained(folder)
    processes.leave()


if __name__ == "__main__":
    main()
