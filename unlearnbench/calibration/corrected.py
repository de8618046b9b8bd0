"""The shares of a scores table, corrected for the errors of the judge that were measured on images of known content."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearnbench.api import Frozen
from unlearnbench.calibration.prevalence import lang_reiczigel, rogan_gladen
from unlearnbench.stats.intervals import LEVEL, t_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from unlearnbench.calibration.rates import ConceptCalibration


class Corrected(Frozen):
    """Forget of one method on one forgotten concept, as judged and corrected."""

    method: str
    forget: str = Field(description="the concepts that the edit forgets")
    concept: str = Field(description="the one of them that the images are of")
    n: int = Field(ge=0, description="scored images")
    raw: float = Field(description="share of images that the judge says do not show it")
    value: float | None = Field(description="corrected (Rogan and Gladen), cut to [0, 1]; none = not calibrated")
    lo: float | None = Field(description="interval of Lang and Reiczigel, images taken as independent")
    hi: float | None
    judgeable: bool | None


class CorrectedMethod(Frozen):
    """Forget and retain of one method, as judged and corrected, over the same concepts."""

    method: str
    concepts: int = Field(ge=0, description="forgotten concepts that the judge can judge, of those that have a score")
    left_out: tuple[str, ...] = Field(description="forgotten concepts that it cannot, or that were not calibrated")
    forget_all: float | None = Field(description="forget as judged, those left out included")
    forget: float | None = Field(description="forget as judged")
    forget_corrected: float | None
    lo: float | None = Field(description="Student's interval of the corrected value over concepts")
    hi: float | None
    retain: float | None = Field(description="retain as judged, on retained concepts that the judge can judge")
    retain_corrected: float | None


def correct(
    scores: pd.DataFrame, calibration: Mapping[str, ConceptCalibration], *, level: float = LEVEL
) -> tuple[list[Corrected], list[CorrectedMethod]]:
    """Correct forget and retain of every method.

    The mean over concepts is taken of values that are not cut to [0, 1], and cut itself: so it has no bias. Its
    interval needs no error of sensitivity and specificity besides: each concept has its own, so that they are part of
    what concepts differ by.

    Args:
        scores: a scores table of one judge, the one of the calibration.
        calibration: concept -> what was measured.
        level: coverage of the intervals.

    Returns:
        One row for each method and forgotten concept, and one for each method.
    """
    scored = scores[scores["label"].notna() & scores["role"].isin(["forget", "retain"])]
    rows, methods = [], []
    for method, own in scored.groupby("method", sort=False):
        forgotten: dict[str, list[tuple[float, float]]] = {}
        retained: dict[str, list[tuple[int, float, float]]] = {}
        raws, left_out = [], []
        for (forget, concept, role), images in own.groupby(["forget", "concept", "role"], sort=False):
            known = calibration.get(str(concept))
            n, hits = len(images), int(images["label"].astype(float).sum())
            share = _corrected(hits / n, known)
            usable = known is not None and bool(known.judgeable)
            if role == "forget":
                raws.append(1.0 - hits / n)
                lo, hi = (math.nan, math.nan) if known is None else _interval(hits, n, known, level)
                rows.append(
                    Corrected(
                        method=str(method), forget=str(forget), concept=str(concept), n=n, raw=1.0 - hits / n,
                        value=None if math.isnan(share) else min(max(1.0 - share, 0.0), 1.0),
                        lo=None if math.isnan(hi) else 1.0 - hi, hi=None if math.isnan(lo) else 1.0 - lo,
                        judgeable=None if known is None else known.judgeable,
                    )
                )  # fmt: skip
                if usable:
                    forgotten.setdefault(str(forget), []).append((1.0 - hits / n, 1.0 - share))
                else:
                    left_out.append(str(concept))
            elif usable:
                retained.setdefault(str(forget), []).append((n, hits / n, share))
        means = np.array([np.mean(values, axis=0) for values in forgotten.values()]).reshape(-1, 2)
        kept = np.array([_pooled(retained[forget]) for forget in forgotten if forget in retained]).reshape(-1, 2)
        lo, hi = t_interval(means[:, 1], level)
        methods.append(
            CorrectedMethod(
                method=str(method), concepts=len(means), left_out=tuple(dict.fromkeys(left_out)),
                forget_all=float(np.mean(raws)) if raws else None,
                forget=_mean(means[:, 0]), forget_corrected=_mean(means[:, 1]),
                lo=None if math.isnan(lo) else lo, hi=None if math.isnan(hi) else hi,
                retain=_mean(kept[:, 0]), retain_corrected=_mean(kept[:, 1]),
            )
        )  # fmt: skip
    return rows, methods


def _corrected(share: float, known: ConceptCalibration | None) -> float:
    """Return the corrected share of images that show a concept, not cut; NaN if the judge was not measured on it."""
    if known is None or known.sensitivity.value is None or known.specificity.value is None:
        return math.nan
    return rogan_gladen(share, known.sensitivity.value, known.specificity.value)


def _interval(hits: int, n: int, known: ConceptCalibration, level: float) -> tuple[float, float]:
    return lang_reiczigel(hits, n, known.sensitivity, known.specificity, level)


def _pooled(parts: list[tuple[int, float, float]]) -> tuple[float, float]:
    """Return retain as judged and corrected, images pooled over the retained concepts."""
    n = sum(part[0] for part in parts)
    return sum(part[0] * part[1] for part in parts) / n, sum(part[0] * part[2] for part in parts) / n


def _mean(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float | None:
    return float(min(max(values.mean(), 0.0), 1.0)) if len(values) else None
