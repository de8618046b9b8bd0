"""Noise-prediction loss on images: what the model itself, rather than its images, betrays of its training set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from unlearnbench.editing.images import encode_images, fitted, pixels_of
from unlearnbench.identity import seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import DataImage
    from unlearnbench.model import Model

TIMESTEPS = tuple(range(50, 1000, 100))
ROWS = 16  # latents of one UNet call


@torch.no_grad()
def image_losses(
    model: Model, images: Sequence[DataImage], *, timesteps: Sequence[int] = TIMESTEPS, draws: int = 1, seed: int = 0
) -> list[float]:
    """Return the mean over timesteps and draws of ‖ε − ε_θ(γ x_0 + σ ε, t, c)‖² for each image, c its caption.

    x_0 is the mean of the autoencoder's posterior. ε depends on seed, image, timestep and draw alone, so that two
    models are asked about the same noisy latents. Squares are averaged over elements; a model that predicts velocity is
    asked for the noise that follows from it.

    Args:
        model: the model, edited or not.
        images: what it may have been trained on.
        timesteps: training timesteps, each of the schedule.
        draws: noises for each of them.
        seed: seed of the noises.
    """
    alphas = model.scheduler.alphas_cumprod.to(model.device, torch.float32)
    velocity = model.info.prediction == "v_prediction"
    found = []
    for image in images:
        x = _latents(model, image)
        text = model.encode([image.caption]).states
        t = torch.tensor([step for step in timesteps for _ in range(draws)], device=model.device)
        noise = torch.stack(
            [_noise(x, seed, image.digest, step, draw) for step in timesteps for draw in range(draws)]
        ).to(model.device)
        gamma, sigma = alphas[t].sqrt()[:, None, None, None], (1.0 - alphas[t]).sqrt()[:, None, None, None]
        noisy = gamma * x + sigma * noise
        rows = zip(torch.split(noisy.to(model.dtype), ROWS), torch.split(t, ROWS), strict=True)
        output = torch.cat([model.unet(m, step, text.expand(len(m), -1, -1)).sample.float() for m, step in rows])
        epsilon = sigma * noisy + gamma * output if velocity else output
        found.append(float((epsilon - noise).square().mean()))
    return found


def membership_auc(members: Sequence[float], others: Sequence[float]) -> float:
    """Return P(loss of a member < loss of another image), ties counted half: ½ = the loss betrays no membership.

    Raises:
        ValueError: one of the two is empty.
    """
    if not members or not others:
        raise ValueError("the loss of at least one member and one other image is needed")
    one, other = np.asarray(members)[:, None], np.asarray(others)[None, :]
    return float((one < other).mean() + 0.5 * (one == other).mean())


def _latents(model: Model, image: DataImage) -> torch.Tensor:
    """Return x_0, [1, channels, s, s], scaled as the UNet sees it."""
    return encode_images(model, pixels_of(fitted(image.load(), model.image_size))[None])[0]


def _noise(x: torch.Tensor, *scope: str | int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed_of("noise-prediction loss", *scope))
    return torch.randn(x.shape[1:], generator=generator)
