"""What two sets of features tell that are paired by their noise: kernel distance, Fréchet distance, diversity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROWS: Final = 1024  # of the kernel's matrix at a time: all of them would be 7 GB for 30,000 images


def kid(edited: Floats, reference: Floats) -> float:
    """Return the unbiased estimate of the squared maximum mean discrepancy of paired features, in [-16, 16].

        1 / (n (n - 1)) Σ_{i≠j} k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i)

    It leaves k(x_i, y_i) out, since x_i and y_i started from the same noise: with it two equal sets would come out far
    below 0. So they are 0, and the estimate has no bias for paired sets either. The kernel is (x·y / d + 1)³ on
    features scaled to the length √d, that is (cos + 1)³: it does not depend on how a model scales its features.

    Source: Gretton et al., A Kernel Two-Sample Test (2012), equation 4; the kernel: Binkowski et al., Demystifying MMD
    GANs (2018), arXiv:1801.01401, section 4.

    Args:
        edited: [n, d], each of length 1.
        reference: [n, d], each of length 1, in the same order.

    Returns:
        NaN for fewer than two images.
    """
    n = len(edited)
    if n < 2:
        return math.nan
    x, y = np.asarray(edited, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    total = 0.0
    for start in range(0, n, ROWS):
        a, b = x[start : start + ROWS], y[start : start + ROWS]
        h = (a @ x.T + 1.0) ** 3 + (b @ y.T + 1.0) ** 3 - (a @ y.T + 1.0) ** 3 - (b @ x.T + 1.0) ** 3
        total += float(h.sum() - np.trace(h, offset=start))
    return total / (n * (n - 1))


def diversity(features: Floats) -> float:
    """Return the mean of 1 - cos over all pairs of images, in [0, 2]; NaN for fewer than two.

    Args:
        features: [n, d], each of length 1.
    """
    n = len(features)
    if n < 2:
        return math.nan
    x = np.asarray(features, dtype=np.float64)
    cosines = (x.sum(axis=0) ** 2).sum() - (x**2).sum()  # Σ_{i≠j} x_i·x_j
    return float(1.0 - cosines / (n * (n - 1)))


def frechet(edited: Floats, reference: Floats) -> float:
    """Return ‖μ - μ'‖² + Tr(Σ + Σ' - 2 (Σ Σ')^½) of two sets of features; NaN for fewer than two images.

    With centred features A, B, [n, d], Tr (Σ Σ')^½ is the sum of the singular values of A Bᵀ / (n - 1), which are those
    of R R'ᵀ with the triangular factors of A and B. So no root of a d x d matrix is taken, and nothing is larger than
    A or d x d. Few images bias it upwards.

    Source: Heusel et al., GANs Trained by a Two Time-Scale Update Rule (2017), arXiv:1706.08500, equation 6.
    """
    if len(edited) < 2 or len(edited) != len(reference):
        return math.nan
    x, y = np.asarray(edited, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    a, b, n = x - x.mean(axis=0), y - y.mean(axis=0), len(x)
    root = np.linalg.svd(np.linalg.qr(a).R @ np.linalg.qr(b).R.T, compute_uv=False).sum()
    spread = (a**2).sum() + (b**2).sum() - 2.0 * root
    return float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + max(float(spread), 0.0) / (n - 1))
