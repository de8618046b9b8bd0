"""Changes made to pictures before a vision tower sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Augmentation = Literal["plain", "strong"]


BENDS = 4  # random offsets along each side of a picture, between which a bend is smooth


def shift(images: Tensor, numbers: np.random.Generator, zoom: float, move: float) -> Tensor:
    """Zoom by up to `zoom` either way and move by up to `move` of the frame; edges are repeated.

    images: [n, 3, h, w].
    """
    return _sampled(images, _grid(images, numbers, zoom, move, turn=0.0))


def bend(images: Tensor, numbers: np.random.Generator, zoom: float, move: float, turn: float, spread: float) -> Tensor:
    """Zoom, move, turn by up to `turn` radians, and bend shapes smoothly, as a generator that draws unsurely does.

    images: [n, 3, h, w]. spread: standard deviation of the bend's offsets as a share of half the frame.
    """
    count, _, height, width = images.shape
    offsets = torch.from_numpy(numbers.normal(0.0, spread, (count, 2, BENDS, BENDS))).float()
    smooth = F.interpolate(offsets, size=(height, width), mode="bicubic", align_corners=True)
    return _sampled(images, _grid(images, numbers, zoom, move, turn) + smooth.permute(0, 2, 3, 1))


def _grid(images: Tensor, numbers: np.random.Generator, zoom: float, move: float, turn: float) -> Tensor:
    """Return where each pixel is taken from, -1 to 1 over the frame, [n, h, w, 2]."""
    count = len(images)
    scale = torch.from_numpy(1.0 + numbers.uniform(-zoom, zoom, count)).float()
    offset = torch.from_numpy(numbers.uniform(-move, move, (count, 2))).float()
    angle = torch.from_numpy(numbers.uniform(-turn, turn, count)).float() if turn else torch.zeros(count)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale * angle.cos()
    theta[:, 0, 1] = -scale * angle.sin()
    theta[:, 1, 0] = scale * angle.sin()
    theta[:, :, 2] = offset
    return F.affine_grid(theta, list(images.shape), align_corners=False)


def _sampled(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def colour(images: Tensor, numbers: np.random.Generator, strength: float) -> Tensor:
    """Scale contrast, saturation and brightness of each picture at random. images: -1 to 1."""
    count = len(images)
    contrast, saturation, brightness = (
        torch.from_numpy(numbers.uniform(-strength, strength, (count, 1, 1, 1))).float() for _ in range(3)
    )
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (1.0 + saturation)
    return (images * (1.0 + contrast) + brightness).clamp(-1.0, 1.0)


def soften(images: Tensor, numbers: np.random.Generator) -> Tensor:
    """Blur one half of the pictures as an autoencoder does, by shrinking and growing; add a little noise to all."""
    side = images.shape[-1]
    small = int(numbers.integers(side // 2, side))
    soft = F.interpolate(images, size=(small, small), mode="bilinear", antialias=True, align_corners=False)
    soft = F.interpolate(soft, size=(side, side), mode="bicubic", align_corners=False)
    chosen = torch.from_numpy(numbers.random((len(images), 1, 1, 1)) < 0.5)
    spread = torch.from_numpy(numbers.uniform(0.0, 0.08, (len(images), 1, 1, 1))).float()
    return (torch.where(chosen, soft, images) + torch.randn_like(images) * spread).clamp(-1.0, 1.0)


def augment(images: Tensor, numbers: np.random.Generator, kind: Augmentation) -> Tensor:
    """Change pictures a little ("plain": a small move) or much ("strong": shapes, colours, softness and noise too).

    images: float32 [n, 3, h, w], -1 to 1; the result has the same form.
    """
    if kind == "plain":
        return shift(images, numbers, 0.05, 0.05)
    bent = bend(images, numbers, zoom=0.1, move=0.08, turn=0.15, spread=0.06)
    return soften(colour(bent, numbers, 0.15), numbers)


def augment_some(images: Tensor, numbers: np.random.Generator, strong_share: float) -> Tensor:
    """Change the first share of pictures much and the others a little, in place; return them.

    A judge has to know clean renders as well as generated pictures.
    """
    strong = round(strong_share * len(images))
    images[:strong] = augment(images[:strong], numbers, "strong")
    images[strong:] = augment(images[strong:], numbers, "plain")
    return images
