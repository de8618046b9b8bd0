"""How good a judge is on one concept: sensitivity, specificity, AUROC, expected calibration error, best threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field
from scipy import stats as distributions

from unlearnbench.api import ConceptKind, Frozen
from unlearnbench.stats.intervals import LEVEL, wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike

    from unlearnbench.stats.formulas import Floats

BINS: Final = 10
JUDGEABLE: Final = 0.5
"""Youden's J below which a judge cannot judge a concept: its two kinds of errors add up to more than a half."""


class Rate(Frozen):
    """A share of images with Wilson's interval."""

    value: float | None = Field(description="none = there is no image")
    lo: float | None
    hi: float | None
    hits: int = Field(ge=0)
    n: int = Field(ge=0, description="scored images")


class Bin(Frozen):
    """The images whose p_yes lies in one tenth of [0, 1]."""

    low: float
    high: float
    n: int = Field(ge=0)
    mean: float | None = Field(description="mean p_yes; none = there is no image")
    share: float | None = Field(description="share of images that show the concept")
    lo: float | None = Field(description="Wilson's interval of the share")
    hi: float | None


class ConceptCalibration(Frozen):
    """What a judge makes of images that show a concept, and of images that do not."""

    concept: str
    kind: ConceptKind
    sensitivity: Rate = Field(description="share of images that show the concept of which the judge says so")
    specificity: Rate = Field(description="share of the other images of which the judge says that they do not")
    youden: float | None = Field(description="J = sensitivity + specificity - 1")
    judgeable: bool | None = Field(description=f"whether J is {JUDGEABLE} or more; none = it is not known")
    auroc: float | None = Field(description="P(p_yes is higher for an image that shows it), ties count a half")
    ece: float | None = Field(description="expected calibration error of p_yes, ten bins")
    threshold: float | None = Field(description="the threshold on p_yes with the largest J on these images")
    threshold_youden: float | None = Field(description="that J")
    unscored: int = Field(ge=0, description="images that the judge gave no answer for; they are in no rate")
    bins: tuple[Bin, ...]
    reason: str = Field("", description="why there is no answer at all: the judge raised")


def measure(answers: pd.DataFrame, concept: str, kind: ConceptKind, *, level: float = LEVEL) -> ConceptCalibration:
    """Measure a judge on one concept.

    Args:
        answers: one row an image: `truth` (bool), `label` (1, 0 or NaN) and `p_yes` (in [0, 1] or NaN).
        concept: id.
        kind: of the concept.
        level: coverage of the intervals.
    """
    scored = answers[answers["label"].notna()]
    truth, label = scored["truth"].to_numpy(dtype=bool), scored["label"].to_numpy(dtype=float)
    p_yes = scored["p_yes"].to_numpy(dtype=float)
    sensitivity, specificity = (_rate(label[truth == shown] == float(shown), level) for shown in (True, False))
    youden = None
    if sensitivity.value is not None and specificity.value is not None:
        youden = sensitivity.value + specificity.value - 1.0
    threshold, best = best_threshold(p_yes, truth)
    return ConceptCalibration(
        concept=concept,
        kind=kind,
        sensitivity=sensitivity,
        specificity=specificity,
        youden=youden,
        judgeable=None if youden is None else youden >= JUDGEABLE,
        auroc=auroc(p_yes, truth),
        ece=expected_calibration_error(p_yes, truth),
        threshold=threshold,
        threshold_youden=best,
        unscored=int(answers["label"].isna().sum()),
        bins=reliability(p_yes, truth, level=level),
    )


def auroc(p_yes: ArrayLike, truth: ArrayLike) -> float | None:
    """Return the area under the ROC curve, from the mean rank of the images that show it (Mann and Whitney 1947).

    Args:
        p_yes: [image] probabilities.
        truth: [image] bool.

    Returns:
        In [0, 1], ties counted a half; None if all images show it or none does.
    """
    shown = np.asarray(truth, dtype=bool)
    n, m = int(shown.sum()), int((~shown).sum())
    if not n or not m:
        return None
    ranks = distributions.rankdata(np.asarray(p_yes, dtype=float))
    return float((ranks[shown].sum() - n * (n + 1) / 2.0) / (n * m))


def reliability(p_yes: ArrayLike, truth: ArrayLike, *, bins: int = BINS, level: float = LEVEL) -> tuple[Bin, ...]:
    """Return bins of equal width; the last one holds p_yes = 1."""
    p, shown = np.asarray(p_yes, dtype=float), np.asarray(truth, dtype=bool)
    place = np.minimum((p * bins).astype(int), bins - 1)
    found = []
    for number in range(bins):
        own = place == number
        n, hits = int(own.sum()), int(shown[own].sum())
        lo, hi = wilson_interval(hits, n, level)
        found.append(
            Bin(
                low=number / bins,
                high=(number + 1) / bins,
                n=n,
                mean=float(p[own].mean()) if n else None,
                share=hits / n if n else None,
                lo=lo if n else None,
                hi=hi if n else None,
            )
        )
    return tuple(found)


def expected_calibration_error(p_yes: ArrayLike, truth: ArrayLike, *, bins: int = BINS) -> float | None:
    """Return Σ_b n_b/n |share of bin b that shows it - mean p_yes of bin b| (Naeini et al. 2015); None for no image."""
    found = reliability(p_yes, truth, bins=bins)
    n = sum(one.n for one in found)
    if not n:
        return None
    return sum(one.n * abs(one.share - one.mean) for one in found if one.share is not None and one.mean is not None) / n


def best_threshold(p_yes: ArrayLike, truth: ArrayLike) -> tuple[float | None, float | None]:
    """Return the threshold t with the largest J of "p_yes >= t", and that J (Youden 1950).

    It lies half-way between two values of p_yes; of several equally good ones it is the nearest to a half. (None, None)
    where nothing can be told apart: one value only, or images of one kind.
    """
    p, shown = np.asarray(p_yes, dtype=float), np.asarray(truth, dtype=bool)
    values = np.unique(p)
    if len(values) < 2 or shown.all() or not shown.any():
        return None, None
    middles: Floats = (values[1:] + values[:-1]) / 2.0
    yes, no = np.sort(p[shown]), np.sort(p[~shown])
    sensitivity = 1.0 - np.searchsorted(yes, middles) / len(yes)
    youden = sensitivity + np.searchsorted(no, middles) / len(no) - 1.0
    best = np.flatnonzero(youden >= youden.max() - 1e-12)
    chosen = min(best, key=lambda i: abs(middles[i] - 0.5))
    return float(middles[chosen]), float(youden[chosen])


def pooled(concepts: Sequence[ConceptCalibration], *, level: float = LEVEL) -> tuple[Bin, ...]:
    """Return the bins of all concepts together."""
    found = []
    for parts in zip(*(concept.bins for concept in concepts), strict=True):
        n = sum(part.n for part in parts)
        hits = round(sum(part.n * part.share for part in parts if part.share is not None))
        lo, hi = wilson_interval(hits, n, level)
        mean = sum(part.n * part.mean for part in parts if part.mean is not None) / n if n else None
        ends = {"lo": lo, "hi": hi, "share": hits / n} if n else {"lo": None, "hi": None, "share": None}
        found.append(Bin(low=parts[0].low, high=parts[0].high, n=n, mean=mean, **ends))
    return tuple(found)


def _rate(right: ArrayLike, level: float) -> Rate:
    hits, n = int(np.sum(right)), int(np.size(right))
    lo, hi = wilson_interval(hits, n, level)
    return Rate(value=hits / n if n else None, lo=lo if n else None, hi=hi if n else None, hits=hits, n=n)
