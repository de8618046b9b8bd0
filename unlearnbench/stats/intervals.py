"""Intervals of means over forgotten concepts, of shares of images and of bootstrap draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

LEVEL: Final = 0.95


def wilson_interval(hits: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (Wilson 1927); NaN bounds for n = 0.

    It takes the images as independent of each other, so it is for one concept only.
    """
    if n == 0:
        return float("nan"), float("nan")
    z = float(special.ndtri(0.5 + level / 2.0))
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    return 0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half


def t_interval(values: ArrayLike, level: float = LEVEL, *, low: float = 0.0, high: float = 1.0) -> tuple[float, float]:
    """Return Student's interval of the mean of `values`, cut to [low, high]; NaN bounds for fewer than two values.

    Args:
        values: one value per concept; NaN is left out.
        level: coverage, in (0, 1).
        low: least possible mean.
        high: greatest possible mean.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    if array.size < 2:
        return float("nan"), float("nan")
    half = float(special.stdtrit(array.size - 1, 0.5 + level / 2.0) * array.std(ddof=1) / np.sqrt(array.size))
    return max(low, float(array.mean()) - half), min(high, float(array.mean()) + half)


def percentile_interval(draws: ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of bootstrap draws; NaN draws are left out, NaN bounds if none is left."""
    array = np.asarray(draws, dtype=np.float64)
    array = array[~np.isnan(array)]
    if not array.size:
        return float("nan"), float("nan")
    low, high = np.quantile(array, [0.5 - level / 2.0, 0.5 + level / 2.0])
    return float(low), float(high)
