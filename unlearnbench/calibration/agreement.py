"""How far two judges agree on the same images: the share of equal answers, and Cohen's kappa."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import Field

from unlearnbench.api import Frozen
from unlearnbench.identity import seed_of
from unlearnbench.stats.intervals import LEVEL, percentile_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from unlearnbench.stats.formulas import Floats

DRAWS: Final = 2000
Part = Literal["all", "concept", "method"]


class Agreement(Frozen):
    """Two judges on the images that both scored."""

    first: str
    second: str
    by: Part = Field(description="all images, or those of one concept or method")
    name: str = Field(description="of that concept or method; '' = all")
    counts: tuple[tuple[int, int], tuple[int, int]] = Field(
        description="[first says yes, no][second says yes, no] images"
    )
    n: int = Field(ge=0, description="images that both scored")
    unscored: int = Field(ge=0, description="images that one or both gave no answer for; in no figure")
    raw: float | None = Field(description="share of images with the same answer; none = there is no image")
    kappa: float | None = Field(description="Cohen's kappa; none = both judges always say the same one word")
    lo: float | None = Field(description="percentile interval of kappa, images resampled")
    hi: float | None
    pabak: float | None = Field(description="2 raw - 1: kappa if both said yes to half of the images")


def cohens_kappa(counts: ArrayLike) -> Floats:
    """Return κ = (p_o - p_e) / (1 - p_e); NaN where p_e is 1 or there is nothing.

    Source: Cohen, A Coefficient of Agreement for Nominal Scales (1960).

    Args:
        counts: [..., 2, 2] images by the answer of the one judge and of the other.
    """
    table = np.asarray(counts, dtype=np.float64)
    n = table.sum(axis=(-1, -2))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = (table[..., 0, 0] + table[..., 1, 1]) / n
        expected = (table.sum(-1) * table.sum(-2)).sum(-1) / n**2
        kappa = np.where(1.0 - expected > 1e-12, (observed - expected) / (1.0 - expected), np.nan)
    return np.asarray(kappa, dtype=np.float64)


def agree(
    first: ArrayLike, second: ArrayLike, names: tuple[str, str], *, by: Part = "all", name: str = "",
    level: float = LEVEL,
) -> Agreement:  # fmt: skip
    """Compare the answers of two judges to the same images.

    Args:
        first: [image] 1 = yes, 0 = no, NaN = unscored.
        second: the same of the other judge.
        names: of the judges.
        by: what the images are a part of.
        name: which part.
        level: coverage of the interval of kappa.
    """
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    known = ~np.isnan(one) & ~np.isnan(other)
    a, b = one[known] > 0.5, other[known] > 0.5
    counts: NDArray[np.int64] = np.array([[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]])
    n = int(counts.sum())
    raw = float(counts[0, 0] + counts[1, 1]) / n if n else None
    kappa = float(cohens_kappa(counts)) if n else math.nan
    lo, hi = math.nan, math.nan
    if not math.isnan(kappa):
        # To draw images with replacement is to draw the four counts from a multinomial distribution.
        random = np.random.default_rng(seed_of("agreement", *names, by, name))
        drawn = random.multinomial(n, counts.ravel() / n, size=DRAWS).reshape(-1, 2, 2)
        lo, hi = percentile_interval(cohens_kappa(drawn), level)
    return Agreement(
        first=names[0],
        second=names[1],
        by=by,
        name=name,
        counts=((int(counts[0, 0]), int(counts[0, 1])), (int(counts[1, 0]), int(counts[1, 1]))),
        n=n,
        unscored=int((~known).sum()),
        raw=raw,
        kappa=_or_none(kappa),
        lo=_or_none(lo),
        hi=_or_none(hi),
        pabak=None if raw is None else 2.0 * raw - 1.0,
    )


def pairwise(tables: Mapping[str, pd.DataFrame], on: Sequence[str], parts: Sequence[Part]) -> list[Agreement]:
    """Compare every two judges on the images that both were asked about, as a whole and by part.

    Args:
        tables: judge -> one row an image and asked concept: the columns of `on`, `label` (1, 0 or NaN) and, for the
            parts, `concept` and `method`.
        on: columns that together tell an image and a question.
        parts: what to compare besides all images, "concept" or "method". An image that stands for several methods, as
            those of the unedited model, counts once in all, and once in each of them.
    """
    found = []
    for first, second in combinations(tables, 2):
        wide = tables[first].merge(tables[second][[*on, "label"]].drop_duplicates(list(on)), on=list(on))
        whole = wide.drop_duplicates(list(on))
        names = first, second
        found.append(agree(whole["label_x"], whole["label_y"], names))
        for part in parts:
            source = wide if part == "method" else whole
            for name, own in source.groupby(part, sort=False):
                own = own.drop_duplicates([*on, part])
                found.append(agree(own["label_x"], own["label_y"], names, by=part, name=str(name)))
    return found


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
