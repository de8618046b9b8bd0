"""The cells of a board: one value each, how sure it is, and what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import Field

from unlearnbench import stats
from unlearnbench.api import Frozen
from unlearnbench.identity import seed_of
from unlearnbench.spec import Column

if TYPE_CHECKING:
    import pandas as pd

SMALL: Final = 8
"""Below this number of concepts the bootstrap alone is too narrow (simulated coverage of 95 % intervals of forget: .67
for 2 concepts, .80 for 3, .89 for 5, .95 for 8); Student's alone misses what edits share (retain: .75 for 5)."""

Interval = Literal["none", "bootstrap", "small_sample", "wilson", "range"]
Normalised = Literal["forget_norm", "retain_ratio", "harmonic_mean_norm"]


class ColumnInfo(Frozen):
    """What a column of the board holds."""

    name: Column
    title: str
    direction: Literal["higher", "lower"] = Field(description="which values are better")
    low: float = Field(description="least possible value")
    high: float | None = Field(description="greatest possible value; none = unbounded")
    unit: str = Field(description="'1' for a share of images")
    description: str


class Cell(Frozen):
    """One value, how sure it is and what it rests on."""

    value: float | None = Field(description="none = there is no value; `note` says why")
    lo: float | None = None
    hi: float | None = None
    interval: Interval = Field("none", description="how lo and hi were found")
    n_concepts: int = Field(0, ge=0, description="forgotten concepts that the value is a mean over; edits for times")
    n_images: int = Field(0, ge=0, description="scored images")
    n_unscored: int = Field(0, ge=0, description="images that the judge gave no answer for; not in the value")
    n_failed: int = Field(0, ge=0, description="images never judged, as their edit, sampling or judging failed")
    note: str = Field("", description="why there is no value")


def _share(name: Column, title: str, description: str) -> ColumnInfo:
    return ColumnInfo(name=name, title=title, direction="higher", low=0.0, high=1.0, unit="1", description=description)


COLUMNS: Final[dict[Column, ColumnInfo]] = {
    column.name: column
    for column in (
        _share("forget", "forget", "share of images of the forgotten concept that do not show it"),
        _share("retain", "retain", "share of images of the other concepts that show theirs"),
        _share("harmonic_mean", "harmonic mean", "of forget and retain; it ranks the methods"),
        _share("forget_direct", "forget direct", "on prompts that name the concept"),
        _share("forget_indirect", "forget indirect", "on prompts that evoke the concept without its name"),
        _share("neighbour", "retain neighbours", "retain on the concepts most like the forgotten one"),
        ColumnInfo(
            name="edit_seconds",
            title="edit seconds",
            direction="lower",
            low=0.0,
            high=None,
            unit="s",
            description="median over edits [least, greatest]",
        ),
    )
}
_ABSENT: Final[dict[stats.Rate, str]] = {
    "forget": "the suite forgets no concept that it evaluates",
    "retain": "the suite evaluates no concept besides the forgotten one",
    "forget_direct": "the suite has no direct prompts",
    "forget_indirect": "the suite has no indirect prompts",
    "neighbour": "the suite evaluates no neighbour of a forgotten concept",
}
_TEXT: Final = ["method", "plugin", "family", "forget", "concept", "kind", "role", "prompt_kind", "status", "reason"]


class Measures:
    """All values of the scores of one suite, protocol and judge, with their bootstrap draws.

    Args:
        scores: valid scores table.
        draws: number of bootstrap draws; the same for all methods.
        level: coverage of the intervals.

    Attributes:
        labels: the decisions as an array.
        scores: the columns of the table that values need; label is 1, 0 or NaN.
        methods: the rows of each method.
        edits: the rows of each method and forgotten concept that it was run on.
    """

    def __init__(self, scores: pd.DataFrame, draws: int, level: float) -> None:
        self.level = level
        slim = scores[[*_TEXT, "method_seed", "neighbour", "label", "edit_seconds"]]
        self.scores = slim.astype({**dict.fromkeys(_TEXT, object), "label": "Float64"}).astype({"label": float})
        self.methods = dict(iter(self.scores.groupby("method")))
        self.edits = dict(iter(self.scores.groupby(["method", "forget"])))
        self.labels = stats.label_array(scores)
        generator = np.random.default_rng(seed_of("bootstrap", str(scores["protocol"].iloc[0])))
        unit, weights = stats.unit_weights(self.labels), stats.resample(self.labels, generator, draws)
        self.concepts: dict[stats.Rate, stats.Floats] = {}  # [method, forget]
        self.values: dict[str, stats.Floats] = {}  # [method]
        self.draws: dict[str, stats.Floats] = {}  # [draw, method]
        for rate in stats.RATES:
            rates = stats.concept_rates(self.labels, rate, unit)
            self.concepts[rate] = rates[0]
            self.values[rate] = stats.macro_mean(rates, unit)[0]
            self.draws[rate] = stats.macro_mean(stats.concept_rates(self.labels, rate, weights), weights)
        for means in (self.values, self.draws):
            means["harmonic_mean"] = stats.harmonic_mean(means["forget"], means["retain"])

    def complete(self, method: str) -> bool:
        """Return whether the method has a forget and a retain rate for every forgotten concept of the board."""
        m = self.labels.methods.index(method)
        return not any(np.isnan(self.concepts[rate][m]).any() for rate in ("forget", "retain"))

    def cell(self, method: str, column: Column) -> Cell:
        """Return the cell of a method and a column."""
        rows = self.methods[method]
        if column == "edit_seconds":
            return _seconds(rows)
        if column == "harmonic_mean":
            return self._harmonic_mean(method, rows)
        return self._rate(method, column, rows)

    def concept_cells(self, method: str, concept: str) -> tuple[Cell, Cell]:
        """Return forget and retain of a method on one forgotten concept.

        Forget has Wilson's interval over images, retain Student's over the retained concepts.
        """
        m, e = self.labels.methods.index(method), self.labels.forget.index(concept)
        rows = self.edits.get((method, concept), self.scores.iloc[:0])
        cells = []
        for rate in ("forget", "retain"):
            own = rows[rows["role"] == rate]
            label = own["label"].dropna()
            if rate == "forget":
                lo, hi = stats.wilson_interval(int((1.0 - label).sum()), len(label), self.level)
            else:
                lo, hi = stats.t_interval(label.groupby(own["concept"]).mean().to_numpy(), self.level)
                if lo == hi:
                    lo, hi = stats.wilson_interval(int(label.sum()), len(label), self.level)
            kind: Interval = "wilson" if rate == "forget" else "small_sample"
            value = self.concepts[rate][m, e]
            cells.append(_cell(value, lo, hi, kind, int(len(label) > 0), own, "no image was made"))
        return cells[0], cells[1]

    def normalised(self, method: str, floor: str, ceiling: str) -> dict[Normalised, Cell]:
        """Return a complete method's values relative to the complete controls; nothing where that is undefined.

        forget_norm = (F - F_floor) / (F_ceiling - F_floor), cut to [0, 1]; retain_ratio = R / R_floor;
        harmonic_mean_norm = harmonic mean of forget_norm and min(1, retain_ratio). Ratios of means over concepts.
        """
        m, u, o = (self.labels.methods.index(name) for name in (method, floor, ceiling))
        results = []
        for means in (self.values, self.draws):
            F, R = means["forget"], means["retain"]
            span, base = F[..., o] - F[..., u], R[..., u]
            with np.errstate(divide="ignore", invalid="ignore"):
                forget = np.where(span > 0.0, np.clip((F[..., m] - F[..., u]) / span, 0.0, 1.0), np.nan)
                retain = np.where(base > 0.0, R[..., m] / base, np.nan)
            results.append((forget, retain, stats.harmonic_mean(forget, np.minimum(1.0, retain))))
        rows = self.methods[method]
        rows = rows[rows["role"].isin(["forget", "retain"])]
        n = len(self.labels.forget)
        names: tuple[Normalised, ...] = ("forget_norm", "retain_ratio", "harmonic_mean_norm")
        cells = {}
        for name, value, draws in zip(names, *results, strict=True):
            lo, hi = stats.percentile_interval(draws, self.level) if n >= SMALL else (np.nan, np.nan)
            cells[name] = _cell(float(value), lo, hi, "bootstrap", n, rows, "the controls do not span a range")
        return cells

    def _rate(self, method: str, rate: stats.Rate, rows: pd.DataFrame) -> Cell:
        m = self.labels.methods.index(method)
        own = rows[rows["role"] == ("forget" if rate.startswith("forget") else "retain")]
        if rate in stats.PROMPT_KIND:
            own = own[own["prompt_kind"] == stats.PROMPT_KIND[rate]]
        elif rate == "neighbour":
            own = own[own["neighbour"]]
        concepts = self.concepts[rate][m]
        lo, hi, kind = self._interval(concepts, self.draws[rate][:, m])
        if lo == hi:  # every image got the same answer: resampling finds no variation where there may be some
            label = own["label"].dropna()
            hits = int((label != float(rate.startswith("forget"))).sum())
            lo, hi = stats.wilson_interval(hits, len(label), self.level)
            kind = "wilson"
        n = int((~np.isnan(concepts)).sum())
        return _cell(self.values[rate][m], lo, hi, kind if n > 1 else "none", n, own, _ABSENT[rate])

    def _harmonic_mean(self, method: str, rows: pd.DataFrame) -> Cell:
        m = self.labels.methods.index(method)
        forget, retain = self.concepts["forget"][m], self.concepts["retain"][m]
        both = ~np.isnan(forget) & ~np.isnan(retain)
        n = int(both.sum())
        linear = stats.linearised_harmonic_mean(forget[both], retain[both]) if n > 1 else forget[both]
        lo, hi, kind = self._interval(linear, self.draws["harmonic_mean"][:, m])
        if lo == hi:
            bounds = [self._rate(method, rate, rows) for rate in ("forget", "retain")]
            lo, hi = (
                float(stats.harmonic_mean(*(np.nan if end is None else end for end in ends)))
                for ends in ([c.lo for c in bounds], [c.hi for c in bounds])
            )
            kind = "wilson"
        own = rows[rows["role"].isin(["forget", "retain"])]
        value = self.values["harmonic_mean"][m]
        return _cell(value, lo, hi, kind if n > 1 else "none", n, own, "it needs both forget and retain")

    def _interval(self, concepts: stats.Floats, draws: stats.Floats) -> tuple[float, float, Interval]:
        n = int((~np.isnan(concepts)).sum())
        if n < 2:
            return np.nan, np.nan, "none"
        lo, hi = stats.percentile_interval(draws, self.level)
        if n >= SMALL:
            return lo, hi, "bootstrap"
        t_lo, t_hi = stats.t_interval(concepts, self.level)
        return float(np.fmin(lo, t_lo)), float(np.fmax(hi, t_hi)), "small_sample"


def _cell(value: float, lo: float, hi: float, kind: Interval, n: int, rows: pd.DataFrame, absent: str) -> Cell:
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


def _seconds(rows: pd.DataFrame) -> Cell:
    """Return median, least and greatest time of the edits of one method."""
    seconds = rows.groupby(["forget", "method_seed"])["edit_seconds"].first().dropna()
    if seconds.empty:
        return Cell(value=None, note=_why(rows, "there is no edit"))
    several = len(seconds) > 1
    return Cell(
        value=float(seconds.median()),
        lo=float(seconds.min()) if several else None,
        hi=float(seconds.max()) if several else None,
        interval="range" if several else "none",
        n_concepts=len(seconds),
    )


def _why(rows: pd.DataFrame, absent: str) -> str:
    """Return why these rows give no value."""
    if rows.empty:
        return absent
    lost = rows[rows["status"] != "ok"]
    if lost.empty:
        return absent if rows["label"].notna().any() else "the judge gave no answer for any image"
    more = lost["reason"].nunique() - 1
    return str(lost["reason"].iloc[0]) + (f" (and {more} other reason{'s' if more > 1 else ''})" if more else "")
