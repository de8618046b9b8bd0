"""Anchor images shown smaller or larger, with words that say so."""

from __future__ import annotations

from dataclasses import dataclass

import torch

SMALLER = 0.66  # chance to shrink an image, else it is enlarged
FAR, NEAR = ("a far away ", "very small "), ("zoomed in ", "close up ")


@dataclass(frozen=True)
class View:
    """One view of an image.

    Attributes:
        image: [3, s, s] in [-1, 1], 0 around an image that was shrunk.
        mask: [1, s / factor, s / factor], 1 where a latent sees nothing but the image.
        prefix: what its prompts begin with; '' if the size needs no word.
    """

    image: torch.Tensor
    mask: torch.Tensor
    prefix: str


def augmented(image: torch.Tensor, factor: int, generator: torch.Generator) -> View:
    """Flip an image, and shrink it to between a third and all of its size, or enlarge it 1.2 to 1.4 times.

    An image under 0.6 of the size gets a word for far, one that was enlarged a word for near.

    Args:
        image: [3, s, s] in [-1, 1].
        factor: how many pixels wide a latent is.
        generator: CPU generator.
    """
    size = image.shape[-1]
    if _chance(generator) < 0.5:
        image = image.flip(-1)
    small = _chance(generator) < SMALLER
    low, high = (size // 3, size) if small else (round(1.2 * size), round(1.4 * size))
    side = _between(low, high, generator)
    resized = torch.nn.functional.interpolate(
        image[None], (side, side), mode="bilinear", antialias=True, align_corners=False
    )[0].clamp(-1.0, 1.0)
    top, left = (_between(0, abs(size - side), generator) for _ in range(2))
    word = _between(0, 1, generator)
    if side > size:
        view = resized[:, top : top + size, left : left + size]
        return View(view, torch.ones(1, size // factor, size // factor), NEAR[word])
    canvas = torch.zeros_like(image)
    canvas[:, top : top + side, left : left + side] = resized
    mask = torch.zeros(1, size // factor, size // factor)
    mask[:, -(-top // factor) : (top + side) // factor, -(-left // factor) : (left + side) // factor] = 1.0
    return View(canvas, mask, FAR[word] if side < 0.6 * size else "")


def _chance(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _between(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))
