"""The cells of a board: one value each, how sure it is, and what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import Field

from unlearnbench.api import Frozen
from unlearnbench.board.columns import COLUMNS
from unlearnbench.board.measures import BOUNDS, COMPOSITES, ERR, Measures, Quantity
from unlearnbench.results.table import CAPTION_METRICS, SET_METRICS
from unlearnbench.stats import formulas, intervals, resampling

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from unlearnbench.spec import Column
    from unlearnbench.stats.formulas import Floats

SMALL: Final = 8
"""Below this number of concepts the bootstrap alone is too narrow (simulated coverage of 95 % intervals of forget: .67
for 2 concepts, .80 for 3, .89 for 5, .95 for 8)."""
OF_FORGOTTEN: Final = frozenset({"delta", "delta_corrected", "delta_floor", "shown", "nearest_distance"})
OF_SETS: Final = frozenset({*SET_METRICS, "blank_rate_forgotten"})
OWN_IMAGES: Final = frozenset({"forget", *resampling.PROMPT_KIND, "blank_rate_forgotten", *OF_FORGOTTEN})
"""Rates whose concepts share no image, so that Student's interval of the concept means holds, but near 0 and 1 (covers
.88 for 12 concepts and a mean of .96, with the bootstrap's wider ends .95). The retained images of all edits are of the
same concepts and prompts: there Student's covers .69 for 8 concepts and .33 for 20. All simulated."""

Interval = Literal["none", "student", "bootstrap", "wider", "wilson", "range"]


class Cell(Frozen):
    """One value, how sure it is and what it rests on."""

    value: float | None = Field(description="none = there is no value; `note` says why")
    lo: float | None = None
    hi: float | None = None
    interval: Interval = Field("none", description="how lo and hi were found")
    n_concepts: int = Field(0, ge=0, description="forgotten concepts that the value is a mean over; edits for costs")
    n_images: int = Field(0, ge=0, description="scored images")
    n_unscored: int = Field(0, ge=0, description="images that the judge gave no answer for; not in the value")
    n_failed: int = Field(0, ge=0, description="images never judged, as their edit, sampling or judging failed")
    note: str = Field("", description="why there is no value")


_ABSENT: Final[dict[str, str]] = {
    "forget": "the suite forgets no concept that it evaluates",
    "retain": "no image is of a concept besides the forgotten one",
    "forget_direct": "the suite has no direct prompts",
    "forget_indirect": "the suite has no indirect prompts",
    "forget_adversarial": "the suite has no adversarial prompts",
    "neighbour": "the suite evaluates no neighbour of a forgotten concept",
    "unrelated": "the suite evaluates no concept but the forgotten one and its neighbours",
    "harmonic_mean": "it needs both forget and retain",
}


def make_cell(measures: Measures, method: str, column: Column) -> Cell:
    """Return the cell of a method and a column."""
    rows = measures.methods[method]
    info = COLUMNS[column]
    if not info.controls and method in BOUNDS:
        return Cell(value=None, note="no edit was made")
    if column in OF_FORGOTTEN:
        return _of_forgotten(measures, method, column, rows)
    if column in OF_SETS:
        return _of_sets(measures, method, column, rows)
    if column in CAPTION_METRICS:
        return _of_captions(method, column, rows)
    if column in resampling.RATES:
        return _rate(measures, method, column, rows)
    if column in ERR:
        return _err(measures, method, column, rows)
    if column == "verdict":
        return _verdict(rows)
    if column not in COMPOSITES:
        return _per_edit(rows, column)
    quantity = measures.quantity(method, column)
    own = rows[rows["role"].isin(["forget", "retain"])]
    absent = _ABSENT.get(column) or measures.lacks(method)
    lo, hi, kind = interval(quantity.linear, quantity.draws, measures.level, column)
    n = count(quantity.linear)
    if column == "harmonic_mean" and lo == hi:
        bounds = [_rate(measures, method, rate, rows) for rate in ("forget", "retain")]
        ends = ([c.lo for c in bounds], [c.hi for c in bounds])
        lo, hi = (float(formulas.harmonic_mean(*(np.nan if x is None else x for x in end))) for end in ends)
        kind = "wilson"
    if lo == hi:  # a ratio of values that resampling does not move: there is no telling how sure it is
        kind = "none"
    return cell(quantity.value, lo, hi, kind if n > 1 else "none", n, own, absent)


def concept_cells(measures: Measures, method: str, concept: str) -> tuple[Cell, Cell]:
    """Return forget and retain of a method on one forgotten concept.

    Forget has Wilson's interval over images, retain Student's over the retained concepts, or Wilson's where all of
    their images agree.
    """
    m, e = measures.labels.methods.index(method), measures.labels.forget.index(concept)
    rows = measures.edits.get((method, concept), measures.scores.iloc[:0])
    cells = []
    for rate in ("forget", "retain"):
        own = rows[rows["role"] == rate]
        label = own["label"].dropna()
        hits = int((label != float(rate == "forget")).sum())
        lo, hi = np.nan, np.nan
        kind: Interval = "none"
        if rate == "retain":
            lo, hi = intervals.t_interval(label.groupby(own["concept"]).mean().to_numpy(), measures.level)
            kind = "student"
        if rate == "forget" or lo == hi:
            lo, hi = intervals.wilson_interval(hits, len(label), measures.level)
            kind = "wilson"
        value = measures.concepts[rate][m, e]
        cells.append(cell(value, lo, hi, kind, int(len(label) > 0), own, "no image was made"))
    return cells[0], cells[1]


def interval(
    linear: Floats, draws: Floats, level: float, column: Column, *, difference: bool = False
) -> tuple[float, float, Interval]:
    """Return the interval of a value, and how it was found.

    Args:
        linear: [forget] one value per concept, of which it is the mean; NaN = none.
        draws: [draw] its bootstrap draws.
        level: coverage.
        column: the column of the value.
        difference: whether it is a difference of two methods, which lies between the column's range and its negative.
    """
    n = count(linear)
    if n < 2:
        return np.nan, np.nan, "none"
    lo, hi = intervals.percentile_interval(draws, level)
    info = COLUMNS[column]
    most = np.inf if info.high is None else info.high
    t_lo, t_hi = intervals.t_interval(linear, level, low=-most if difference else info.low, high=most)
    if n < SMALL or column in OWN_IMAGES:
        return float(np.fmin(lo, t_lo)), float(np.fmax(hi, t_hi)), "wider"
    return lo, hi, "bootstrap"


def count(values: Floats) -> int:
    """Return how many concepts have a value."""
    return int((~np.isnan(values)).sum())


def cell(value: float, lo: float, hi: float, kind: Interval, n: int, rows: pd.DataFrame, absent: str) -> Cell:
    """Return a cell with the counts of its rows; NaN bounds are no interval.

    Args:
        value: NaN = there is none.
        lo: lower end.
        hi: upper end.
        kind: how the ends were found.
        n: forgotten concepts.
        rows: the rows of the scores table that the value is of.
        absent: why there is no value, if no row says so.
    """
    known = kind != "none" and not np.isnan([value, lo, hi]).any()
    unscored, done = rows["label"].isna(), rows["status"] == "ok"
    return Cell(
        value=None if np.isnan(value) else float(value),
        lo=float(lo) if known else None,
        hi=float(hi) if known else None,
        interval=kind if known else "none",
        n_concepts=n,
        n_images=int((~unscored).sum()),
        n_unscored=int((unscored & done).sum()),
        n_failed=int((~done).sum()),
        note=_why(rows, absent) if np.isnan(value) else "",
    )


def _rate(measures: Measures, method: str, rate: resampling.Rate, rows: pd.DataFrame) -> Cell:
    own = rows[_entering(rows, rate)]
    quantity: Quantity = measures.quantity(method, rate)
    lo, hi, kind = interval(quantity.linear, quantity.draws, measures.level, rate)
    if lo == hi:  # every concept got the same value: there may be variation that so few images do not show
        label = own["label"].dropna()
        hits = int((label != float(rate.startswith("forget"))).sum())
        lo, hi = intervals.wilson_interval(hits, len(label), measures.level)
        kind = "wilson"
    n = count(quantity.linear)
    return cell(quantity.value, lo, hi, kind if n > 1 else "none", n, own, _ABSENT[rate])


def _entering(rows: pd.DataFrame, rate: resampling.Rate) -> pd.Series[bool]:
    """Return which rows of the scores table enter a rate."""
    entering = rows["role"] == ("forget" if rate.startswith("forget") else "retain")
    if rate in resampling.PROMPT_KIND:
        return entering & (rows["prompt_kind"] == resampling.PROMPT_KIND[rate])
    if rate in ("neighbour", "unrelated"):
        return entering & (rows["neighbour"] == (rate == "neighbour"))
    return entering


def _err(measures: Measures, method: str, column: Column, rows: pd.DataFrame) -> Cell:
    """Return a harmonic mean of axes, averaged over the concepts that have all of them."""
    axes = ERR[column]
    own = rows[np.logical_or.reduce([_entering(rows, axis) for axis in axes])]
    quantity = measures.quantity(method, column)
    lo, hi, kind = interval(quantity.linear, quantity.draws, measures.level, column)
    n = count(quantity.linear)
    if n == 0:  # an axis that was not measured is none, never 0
        notes = [_rate(measures, method, axis, rows).note for axis in axes]
        why = "; ".join(dict.fromkeys(filter(None, notes))) or "no forgotten concept has a value on every axis"
        return cell(quantity.value, lo, hi, "none", n, own, why).model_copy(update={"note": why})
    # Where every concept has the same value, no interval of shares fits: an axis that is 0 may be another for each.
    return cell(quantity.value, lo, hi, kind if lo < hi else "none", n, own, "")


def _of_forgotten(measures: Measures, method: str, column: Column, rows: pd.DataFrame) -> Cell:
    compared = column == "nearest_distance"
    absent = "no image was compared with a training image" if compared else "no image showed an attribute"
    own = rows[rows["role"] == "forget"]
    if column not in measures.concepts:
        return Cell(value=None, note=_why(own, absent))
    quantity = measures.quantity(method, column)
    lo, hi, kind = interval(quantity.linear, quantity.draws, measures.level, column)
    n = count(quantity.linear)
    return cell(quantity.value, lo, hi, kind if n > 1 and lo < hi else "none", n, own, absent)


def _of_sets(measures: Measures, method: str, column: Column, rows: pd.DataFrame) -> Cell:
    """Return what a set evaluator found; its counts are of images that it gave a value for, not of judged ones."""
    forgotten = column == "blank_rate_forgotten"
    own = rows[rows["role"] == ("forget" if forgotten else "retain")]
    if column not in measures.concepts:
        return Cell(value=None, note="the suite has no set evaluator, or it does not measure this")
    own = own.assign(label=own["blank_rate" if forgotten else column])
    quantity = measures.quantity(method, column)
    lo, hi, kind = interval(quantity.linear, quantity.draws, measures.level, column)
    n = count(quantity.linear)
    absent = "the set evaluator gave no value for any image"
    return cell(quantity.value, lo, hi, kind if n > 1 and lo < hi else "none", n, own, absent)


def _of_captions(method: str, column: Column, rows: pd.DataFrame) -> Cell:
    """Return median, least and greatest over edits of what a set evaluator found on captions; counts are of images."""
    edits = rows.drop_duplicates(["forget", "method_seed"]).dropna(subset="caption_images")
    if edits.empty:
        return Cell(value=None, note="no captions were given, which a set evaluator could compare")
    edits = edits.iloc[:1] if method in BOUNDS else edits  # one model, and its images once
    known = edits[edits[column].notna()]
    values, several, unscored = known[column], len(known) > 1, int(known["caption_unscored"].sum())
    return Cell(
        value=None if known.empty else float(values.median()),
        lo=float(values.min()) if several else None,
        hi=float(values.max()) if several else None,
        interval="range" if several else "none",
        n_concepts=len(known),
        n_images=int(known["caption_images"].sum()) - unscored,
        n_unscored=unscored,
        n_failed=int(edits.loc[edits[column].isna(), "caption_images"].sum()),
        note=_why(rows, "the set evaluator gave no value for the captions") if known.empty else "",
    )


def _per_edit(rows: pd.DataFrame, column: Column) -> Cell:
    """Return median, least and greatest of a figure of the edits of one method."""
    values = rows.groupby(["forget", "method_seed"])[column].first().dropna()
    if values.empty:
        return Cell(value=None, note=_why(rows, "it was not recorded"))
    several = len(values) > 1
    return Cell(
        value=float(values.median()),
        lo=float(values.min()) if several else None,
        hi=float(values.max()) if several else None,
        interval="range" if several else "none",
        n_concepts=len(values),
    )


def _verdict(rows: pd.DataFrame) -> Cell:
    """Return the share of the edits of one method whose verdict is ok; an edit without a verdict is not counted."""
    words = rows.groupby(["forget", "method_seed"])["verdict"].first().dropna()
    if words.empty:
        return Cell(value=None, note=_why(rows, "it was not recorded"))
    return Cell(value=float((words == "ok").mean()), n_concepts=len(words))


def _why(rows: pd.DataFrame, absent: str) -> str:
    """Return why these rows give no value."""
    if rows.empty:
        return absent
    lost = rows[rows["status"] != "ok"]
    if lost.empty:
        judged = rows["label"].notna().any() or "set evaluator" in absent
        return absent if judged else "the judge gave no answer for any image"
    more = lost["reason"].nunique() - 1
    return str(lost["reason"].iloc[0]) + (f" (and {more} other reason{'s' if more > 1 else ''})" if more else "")


def all_cells(measures: Measures, method: str, columns: Sequence[Column]) -> dict[Column, Cell]:
    """Return the cells of a method, by column."""
    return {column: make_cell(measures, method, column) for column in columns}
