"""How far images are from each other, pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def pixels(image: Image.Image, size: int) -> Floats | None:
    """Return an image as [3 · size · size] in [0, 1], or None if its file is damaged."""
    try:
        plain = image.convert("RGB")
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for truncated and damaged files
        return None
    if plain.size != (size, size):
        plain = plain.resize((size, size), Image.Resampling.BOX)
    return np.asarray(plain, dtype=np.float64).ravel() / 255.0


def distances(one: Floats, others: Floats) -> Floats:
    """Return the root mean square difference of one image [d] to others [n, d], [n] in [0, 1]."""
    found: Floats = np.sqrt(((others - one) ** 2).mean(axis=1))
    return found
