"""Images as the autoencoder takes them, and their latents as the UNet sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image

if TYPE_CHECKING:
    from unlearnbench.model import Model


def pixels_of(image: Image.Image) -> torch.Tensor:
    """Return an RGB image as [3, height, width] in [-1, 1], float32."""
    levels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    width, height = image.size
    return levels.view(height, width, 3).permute(2, 0, 1).float() / 127.5 - 1.0


def fitted(image: Image.Image, size: int) -> Image.Image:
    """Return an image as a square of `size` pixels; another size is resampled (Lanczos), whatever its shape."""
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.LANCZOS)


@torch.no_grad()
def encode_images(model: Model, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of the autoencoder's posterior, scaled as the UNet sees latents.

    Args:
        model: its autoencoder encodes.
        images: [n, 3, h, w] in [-1, 1].

    Returns:
        Two tensors [n, channels, h / model.compression, w / model.compression], float32, on the model's device.
    """
    posterior = model.vae.encode(images.to(model.device, model.dtype)).latent_dist
    scale: float = model.vae.config.scaling_factor
    return posterior.mean.float() * scale, posterior.std.float() * scale
