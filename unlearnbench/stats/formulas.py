"""Harmonic means and ratios of means over forgotten concepts, and their linear forms.

The estimators are those of the Table 5 of Choudhary 2025 with the means unrounded: per forgotten concept the images are
pooled, the mean over forgotten concepts is taken, and the harmonic mean is that of the two means.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def harmonic_mean(*values: ArrayLike) -> Floats:
    """Return the elementwise harmonic mean: 0 where any value is 0, NaN where any value is NaN.

    Args:
        values: arrays of one shape (or that broadcast), each >= 0.
    """
    stacked = np.stack(np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in values)))
    with np.errstate(divide="ignore", over="ignore"):
        mean = len(values) / np.sum(1.0 / stacked, axis=0)
    return np.asarray(mean, dtype=np.float64)


def linearised_harmonic_mean(first: ArrayLike, second: ArrayLike) -> Floats:
    """Return one value per concept whose mean is the harmonic mean of the two means (delta method).

    Student's interval of these values is the small-sample interval of the harmonic mean of means.

    Args:
        first: [concept] one value of each concept, such as its forget rate; the means are >= 0.
        second: [concept] the other value, such as its retain rate.
    """
    f, r = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    F, R = f.mean(), r.mean()
    f_share = F / (F + R) if F + R > 0.0 else 0.0
    slope_f, slope_r = 2.0 * (1.0 - f_share) ** 2, 2.0 * f_share**2
    return np.asarray(harmonic_mean(F, R) + slope_f * (f - F) + slope_r * (r - R), dtype=np.float64)


def linearised_ratio(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """Return one value per concept whose mean is the ratio of the two means (delta method); NaN if that has no sign.

    Args:
        numerator: [concept] values.
        denominator: [concept] values; their mean has to be positive.
    """
    a, b = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if not b.mean() > 0.0:
        return np.full(a.shape, np.nan)
    ratio = a.mean() / b.mean()
    return np.asarray(ratio + (a - ratio * b) / b.mean(), dtype=np.float64)
