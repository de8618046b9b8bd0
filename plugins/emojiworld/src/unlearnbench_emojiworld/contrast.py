"""Which backgrounds a sprite can be seen on: never on one of nearly its own colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

SIDE = 32
NEAR_COLOUR = 24.0  # CIE76 difference under which two colours of a small picture hardly differ
MOST_HIDDEN = 0.5
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.0890])


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIE L*a*b* coordinates (D65) of sRGB colours, both [..., 3]; rgb: 0 to 255."""
    share = rgb / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _WHITE
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16.0 / 116.0)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], -1)


def hidden(sprite: Image.Image, colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of what is drawn that nearly has the background's colour, for each background, [n].

    sprite: premultiplied RGBa. colours: sRGB, [n, 3], 0 to 255.
    """
    pixels = np.asarray(sprite.convert("RGBA").resize((SIDE, SIDE)), dtype=np.float64)
    drawn = lab(pixels[pixels[..., 3] > 128.0][:, :3])
    distance = np.linalg.norm(drawn[:, None, :] - lab(colours)[None, :, :], axis=-1)
    share: NDArray[np.float64] = (distance < NEAR_COLOUR).mean(0)
    return share
