"""What share of images shows a concept, given what a judge says and how often it is wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scipy import special

from unlearnbench.stats.intervals import LEVEL

if TYPE_CHECKING:
    from unlearnbench.calibration.rates import Rate


def rogan_gladen(share: float, sensitivity: float, specificity: float) -> float:
    """Return π = (p + Sp - 1) / (Se + Sp - 1), not cut to [0, 1]; NaN if the judge is no better than a coin.

    Source: Rogan and Gladen, Estimating Prevalence from the Results of a Screening Test (1978). Not cut, its mean over
    concepts has no bias; cut, small shares would come out too large.

    Args:
        share: p, share of images of which the judge says that they show the concept.
        sensitivity: Se, in [0, 1].
        specificity: Sp, in [0, 1].
    """
    youden = sensitivity + specificity - 1.0
    return (share + specificity - 1.0) / youden if youden > 0.0 else math.nan


def lang_reiczigel(
    hits: int, n: int, sensitivity: Rate, specificity: Rate, level: float = LEVEL
) -> tuple[float, float]:
    """Return the interval of the corrected share, cut to [0, 1]; it knows that Se and Sp were measured on few images.

    Source: Lang and Reiczigel, Confidence limits for prevalence of disease adjusted for estimated sensitivity and
    specificity, Preventive Veterinary Medicine 113 (2014) 13-22: the delta method with the counts adjusted, p' as in
    Agresti and Coull, Se' and Sp' with one image of either kind added, and the estimate shifted by its curvature.
    The images are taken as independent of each other, as by Wilson's interval.

    Args:
        hits: images of which the judge says that they show the concept.
        n: images that it judged.
        sensitivity: on images of known content.
        specificity: on images of known content.
        level: coverage, in (0, 1).

    Returns:
        NaN bounds if one of the three counts is 0; (0, 1) if the judge is no better than a coin.
    """
    if not n or not sensitivity.n or not specificity.n:
        return math.nan, math.nan
    z = float(special.ndtri(0.5 + level / 2.0))
    p = (hits + z * z / 2.0) / (n + z * z)
    se, n_se = (sensitivity.hits + 1.0) / (sensitivity.n + 2.0), sensitivity.n + 2.0
    sp, n_sp = (specificity.hits + 1.0) / (specificity.n + 2.0), specificity.n + 2.0
    youden = se + sp - 1.0
    if youden <= 0.0:
        return 0.0, 1.0
    share = (p + sp - 1.0) / youden
    of_se, of_sp = se * (1.0 - se) / n_se, sp * (1.0 - sp) / n_sp
    shift = 2.0 * z * z * (share * of_se - (1.0 - share) * of_sp)
    spread = p * (1.0 - p) / (n + z * z) + share**2 * of_se + (1.0 - share) ** 2 * of_sp
    half = z * math.sqrt(spread) / youden
    low, high = share + shift - half, share + shift + half
    return min(max(low, 0.0), 1.0), max(min(high, 1.0), 0.0)
