"""Which methods are told apart: Wilcoxon's signed-rank test over concepts, Holm's correction, ranks that tie."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike


def wilcoxon(first: ArrayLike, second: ArrayLike) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test over concepts (Wilcoxon 1945).

    Differences of 0 are split between both signs. The images of one concept are no independent observations, so each
    concept is one pair.

    Args:
        first: [concept] one value per concept.
        second: [concept] the other method's value for the same concept; a concept that lacks either is left out.

    Returns:
        The p-value; 1 if no concept differs, NaN for fewer than two concepts.
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    difference = difference[~np.isnan(difference)].round(12)  # rounding makes ties of what differs by arithmetic only
    if difference.size < 2:
        return float("nan")
    if not difference.any():
        return 1.0
    from scipy import stats as scipy_stats  # here: it takes a second to import, and a board of one method needs none

    return float(scipy_stats.wilcoxon(difference, zero_method="zsplit").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in the same order; NaN is no comparison and stays NaN."""
    order = sorted((p, i) for i, p in enumerate(p_values) if not np.isnan(p))
    corrected = [float("nan")] * len(p_values)
    largest = 0.0
    for passed, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - passed)))
        corrected[i] = largest
    return corrected


def pairwise(values: Sequence[ArrayLike]) -> dict[tuple[int, int], tuple[float, float]]:
    """Return for each pair i < j of methods its p-value, and the p-value corrected for all pairs.

    Args:
        values: for each method, [concept] one value per concept.
    """
    pairs = list(combinations(range(len(values)), 2))
    p_values = [wilcoxon(values[i], values[j]) for i, j in pairs]
    return dict(zip(pairs, zip(p_values, holm(p_values), strict=True), strict=True))


def shared_ranks(count: int, apart: Mapping[tuple[int, int], bool]) -> list[int]:
    """Return the rank of each method: 1 + the number of methods before it that are told apart from it.

    Args:
        count: number of methods, best first.
        apart: for each pair i < j, whether the two are told apart.
    """
    return [1 + sum(apart[i, j] for i in range(j)) for j in range(count)]


def tie_groups(count: int, apart: Mapping[tuple[int, int], bool]) -> list[str]:
    """Return the letters of each method: two methods that share one are not told apart.

    Args:
        count: number of methods, best first.
        apart: for each pair i < j, whether the two are told apart.
    """
    near = [{j for j in range(count) if j != i and not apart[min(i, j), max(i, j)]} for i in range(count)]
    groups = sorted(sorted(group) for group in _cliques(set(), set(range(count)), set(), near))
    return ["".join(_letter(k) for k, group in enumerate(groups) if i in group) for i in range(count)]


def _cliques(inside: set[int], candidates: set[int], done: set[int], near: Sequence[set[int]]) -> Iterator[set[int]]:
    """Yield the largest groups of which every two members are near (Bron and Kerbosch 1973)."""
    if not candidates and not done:
        yield inside
    for i in sorted(candidates):
        yield from _cliques(inside | {i}, candidates & near[i], done & near[i], near)
        candidates, done = candidates - {i}, done | {i}


def _letter(k: int) -> str:
    return chr(ord("a") + k % 26) * (k // 26 + 1)
