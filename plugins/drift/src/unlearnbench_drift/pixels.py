"""What pixels tell: mean square error, structural similarity, blank images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    Floats = NDArray[np.float64]

SIGMA: Final = 1.5  # of the Gaussian window, which ends at RADIUS pixels: 11 x 11
RADIUS: Final = 5
K1: Final = 0.01
K2: Final = 0.03


def pixels(image: Image.Image) -> Floats | None:
    """Return an image as [h, w, 3] in [0, 1], or None if its file is damaged."""
    try:
        return np.asarray(image.convert("RGB"), dtype=np.float64) / 255.0
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for truncated and damaged files
        return None


def mse(one: Floats, other: Floats) -> float:
    """Return the mean square difference of two images [h, w, 3], in [0, 1]."""
    return float(((one - other) ** 2).mean())


def ssim(one: Floats, other: Floats) -> float:
    """Return the mean structural similarity of two images [h, w, 3] in [0, 1]; in [-1, 1], 1 for equal images.

    The mean over channels and over all places whose window lies inside the image.

    Source: Wang, Bovik, Sheikh and Simoncelli, Image Quality Assessment: From Error Visibility to Structural Similarity
    (2004), equation 13, with its Gaussian window of 11 x 11 pixels and sigma 1.5, K1 = .01, K2 = .03.

    Raises:
        ValueError: the images are smaller than the window, or of different sizes.
    """
    if one.shape != other.shape or min(one.shape[:2]) < 2 * RADIUS + 1:
        least = 2 * RADIUS + 1
        raise ValueError(f"SSIM compares images of one size from {least} pixels on, not {one.shape} and {other.shape}")

    def blur(image: Floats) -> Floats:
        found: Floats = gaussian_filter(image, (SIGMA, SIGMA, 0.0), radius=(RADIUS, RADIUS, 0))
        return found[RADIUS:-RADIUS, RADIUS:-RADIUS]

    mean_one, mean_other = blur(one), blur(other)
    var_one, var_other = blur(one**2) - mean_one**2, blur(other**2) - mean_other**2
    covariance = blur(one * other) - mean_one * mean_other
    c1, c2 = K1**2, K2**2
    similar = (2.0 * mean_one * mean_other + c1) * (2.0 * covariance + c2)
    return float((similar / ((mean_one**2 + mean_other**2 + c1) * (var_one + var_other + c2))).mean())


def is_blank(image: Floats, limit: float) -> bool:
    """Return whether an image [h, w, 3] is of one colour: no channel's standard deviation is above `limit`."""
    return bool(image.std(axis=(0, 1)).max() <= limit + 1e-9)  # the mean of equal numbers is not quite that number
