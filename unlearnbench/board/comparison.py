"""Two methods side by side: paired differences over concepts, their intervals, and a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearnbench.api import Frozen
from unlearnbench.board.cells import SMALL, Interval, count, interval
from unlearnbench.board.columns import COLUMNS
from unlearnbench.board.measures import COMPOSITES, Measures
from unlearnbench.spec import Column
from unlearnbench.stats.significance import holm, wilcoxon

if TYPE_CHECKING:
    from collections.abc import Sequence


class Difference(Frozen):
    """One method minus another in one column: paired by concept, prompt, sampling seed and initial noise."""

    column: Column
    first: str = Field(description="label of a row")
    second: str = Field(description="label of the row that it is compared with")
    value: float | None = Field(description="first minus second; none = one of them has no value")
    lo: float | None = None
    hi: float | None = None
    interval: Interval = Field("none", description="how lo and hi were found")
    n_concepts: int = Field(ge=0, description="forgotten concepts on which both have a value")
    wins: int = Field(ge=0, description="concepts on which the first has the better value, in the column's direction")
    ties: int = Field(ge=0)
    losses: int = Field(ge=0)
    median: float | None = Field(None, description="median over concepts of first minus second")
    p: float | None = Field(None, description="Wilcoxon's signed-rank test over concepts; none = too few concepts")
    p_holm: float | None = Field(None, description="corrected for all pairs of methods on the board (Holm)")

    def apart(self, level: float) -> bool:
        """Return whether the two are told apart after correction."""
        return self.p_holm is not None and self.p_holm < 1.0 - level


def difference(measures: Measures, first: str, second: str, column: Column) -> Difference:
    """Return the paired difference of two methods; below `SMALL` concepts without a test.

    Over concepts that only one of them was scored on nothing is compared: the value then is of the others alone.
    """
    info = COLUMNS[column]
    a, b = (measures.quantity(method, column) for method in (first, second))
    paired = a.paired - b.paired
    both = ~np.isnan(paired)
    n = count(paired)
    if n == len(paired):
        value, draws, linear = a.value - b.value, a.draws - b.draws, a.linear - b.linear
    else:
        value = float(paired[both].mean()) if n else float("nan")
        # Without every concept only rates can be paired: their means are over the concepts that both have.
        draws, linear = np.full(a.draws.shape, np.nan), paired
        value = float("nan") if column in COMPOSITES else value
    lo, hi, kind = interval(linear, draws, measures.level, column, difference=True)
    known = kind != "none" and not np.isnan([value, lo, hi]).any() and lo < hi
    steps = paired[both].round(12) if info.direction == "higher" else -paired[both].round(12)
    p = wilcoxon(a.paired, b.paired) if n >= SMALL else float("nan")
    return Difference(
        column=column,
        first=first,
        second=second,
        value=None if np.isnan(value) else float(value),
        lo=float(lo) if known else None,
        hi=float(hi) if known else None,
        interval=kind if known else "none",
        n_concepts=n,
        wins=int((steps > 0.0).sum()),
        ties=int((steps == 0.0).sum()),
        losses=int((steps < 0.0).sum()),
        median=float(np.median(paired[both])) if n else None,
        p=None if np.isnan(p) else p,
    )


def differences(measures: Measures, methods: Sequence[str], column: Column) -> list[Difference]:
    """Return the difference of every pair of methods, in their order, with p-values corrected for all pairs."""
    found = [
        difference(measures, first, second, column) for i, first in enumerate(methods) for second in methods[i + 1 :]
    ]
    corrected = holm([np.nan if one.p is None else one.p for one in found])
    return [
        one.model_copy(update={"p_holm": None if np.isnan(p) else p}) for one, p in zip(found, corrected, strict=True)
    ]
