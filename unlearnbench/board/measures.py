"""Every value of a scores table with its bootstrap draws and its value on each concept: what cells are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from unlearnbench.board.balance import Balance
from unlearnbench.identity import seed_of
from unlearnbench.results.table import CAPTIONS, CONTROL, PER_EDIT, SET_METRICS
from unlearnbench.run.plan import PROMPT_SWAP, UNEDITED
from unlearnbench.stats import formulas, resampling

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from unlearnbench.spec import Column
    from unlearnbench.stats.formulas import Floats

BOUNDS: Final = (PROMPT_SWAP, UNEDITED)  # the ceiling and the floor: controls that make no edit
COMPOSITES: Final[tuple[Column, ...]] = ("harmonic_mean", "forget_norm", "retain_ratio", "harmonic_mean_norm")
ERR: Final[dict[Column, tuple[resampling.Rate, ...]]] = {
    "err3": ("forget_direct", "retain", "forget_indirect"),
    "err5": ("forget_direct", "unrelated", "neighbour", "forget_indirect", "forget_adversarial"),
}
"""Erasing, retention, robustness: the axes of each form. `err5` is the score of the Genmu challenges (U&ME workshop at
ICCV 2025, and 2026). `err3` has one axis for each of the three words, and needs neither neighbours nor attacks. The
harmonic mean is taken for each forgotten concept and then averaged, as published entries do: that of the averaged axes
is another number."""
_TEXT: Final = [
    "method", "plugin", "family", "forget", "concept", "kind", "role", "prompt_kind", "status", "reason", "verdict",
    "verdict_reason",
]  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """One column of one method.

    Attributes:
        value: the mean, or a function of means; NaN = there is none.
        draws: [draw] the same of every bootstrap draw.
        linear: [forget] one value per forgotten concept, of which `value` is the mean (delta method where it is no
            mean); NaN = no score.
        paired: [forget] the value of each concept alone, for tests over concepts; a function of the method's own
            images on that concept and of nothing but the bounds besides.
    """

    value: float
    draws: Floats
    linear: Floats
    paired: Floats


class Measures:
    """All values of the scores of one suite, protocol and judge.

    Args:
        scores: valid scores table.
        draws: number of bootstrap draws; the same for all methods.
        level: coverage of the intervals.
        rates: the rates to find; the composite columns need forget and retain.

    Attributes:
        labels: the decisions as an array.
        scores: the columns of the table that values need; label is 1, 0 or NaN.
        methods: the rows of each method.
        edits: the rows of each method and forgotten concept that it was run on.
        controls: the rows that are no competitors: the bounds, then others by name.
    """

    def __init__(
        self,
        scores: pd.DataFrame,
        draws: int,
        level: float,
        rates: Sequence[resampling.Rate] = resampling.RATES,
    ) -> None:
        self.level = level
        slim = scores[[*_TEXT, "method_seed", "neighbour", "label", *PER_EDIT, *SET_METRICS, *CAPTIONS]]
        self.scores = slim.astype({**dict.fromkeys(_TEXT, object), "label": "Float64"}).astype({"label": float})
        self.methods = dict(iter(self.scores.groupby("method")))
        self.edits = dict(iter(self.scores.groupby(["method", "forget"])))
        self.labels = resampling.label_array(scores)
        marked = set(self.scores.loc[self.scores["family"] == CONTROL, "method"])
        self.controls = (*(n for n in BOUNDS if n in marked), *sorted(marked - set(BOUNDS)))
        generator = np.random.default_rng(seed_of("bootstrap", str(scores["protocol"].iloc[0])))
        unit, weights = resampling.unit_weights(self.labels), resampling.resample(self.labels, generator, draws)
        self.concepts: dict[Column, Floats] = {}  # [method, forget]
        self._values: dict[str, Floats] = {}  # [method]
        self._draws: dict[str, Floats] = {}  # [draw, method]
        found, drawn = (
            {rate: resampling.concept_rates(self.labels, rate, weight) for rate in rates} for weight in (unit, weights)
        )
        for rate in rates:
            self._keep(rate, found[rate], drawn[rate], unit, weights)
        for column, axes in ERR.items():
            if set(axes) <= set(rates):
                once, often = (formulas.harmonic_mean(*(values[axis] for axis in axes)) for values in (found, drawn))
                self._keep(column, once, often, unit, weights)
        if "forget" in rates:
            self._keep_of_forgotten(scores, unit, weights)
        if set(rates) == set(resampling.RATES):  # a part of a board shows no other columns
            self._keep_of_sets(scores, unit, weights)

    def _keep(
        self, column: Column, found: Floats, drawn: Floats, unit: resampling.Weights, weights: resampling.Weights
    ) -> None:
        """Keep a column: [1, method, forget] as it was found, and [draw, method, forget] as it was drawn."""
        self.concepts[column] = found[0]
        self._values[column] = resampling.macro_mean(found, unit)[0]
        self._draws[column] = resampling.macro_mean(drawn, weights)

    def _keep_of_forgotten(self, scores: pd.DataFrame, unit: resampling.Weights, weights: resampling.Weights) -> None:
        """Keep what judges say of images of the forgotten concept besides, if they were asked."""
        if scores["attribute"].notna().any():
            balance = Balance(scores)
            one, many = balance.shares(unit), balance.shares(weights)
            self._keep("delta", balance.delta(one), balance.delta(many), unit, weights)
            self._keep("delta_corrected", balance.corrected(one), balance.corrected(many), unit, weights)
            floor = balance.floor()[None]
            self._keep("delta_floor", floor, np.broadcast_to(floor, many.shape[1:]), unit, weights)
            shown, drawn = (1.0 - resampling.concept_rates(self.labels, "forget", weight) for weight in (unit, weights))
            self._keep("shown", shown, drawn, unit, weights)
        if scores["distance"].notna().any():
            distances = resampling.label_array(scores.assign(label=scores["distance"]))
            apart, drawn = (1.0 - resampling.concept_rates(distances, "forget", weight) for weight in (unit, weights))
            self._keep("nearest_distance", apart, drawn, unit, weights)

    def _keep_of_sets(self, scores: pd.DataFrame, unit: resampling.Weights, weights: resampling.Weights) -> None:
        """Keep what a set evaluator found on retained concepts, and the blank images of forgotten ones."""
        for metric in SET_METRICS:
            if not scores[metric].notna().any():
                continue
            values = resampling.label_array(scores.assign(label=scores[metric]))
            found, drawn = (resampling.concept_rates(values, "retain", weight) for weight in (unit, weights))
            self._keep(metric, found, drawn, unit, weights)
            if metric == "blank_rate":
                blank, drawn = (1.0 - resampling.concept_rates(values, "forget", weight) for weight in (unit, weights))
                self._keep("blank_rate_forgotten", blank, drawn, unit, weights)

    def complete(self, method: str) -> bool:
        """Return whether the method has a forget and a retain rate for every forgotten concept of the board."""
        if method not in self.labels.methods:
            return False
        m = self.labels.methods.index(method)
        return not any(np.isnan(self.concepts[rate][m]).any() for rate in ("forget", "retain"))

    def lacks(self, method: str) -> str:
        """Return why a method has no normalised value, or ''."""
        if not all(self.complete(name) for name in BOUNDS):
            return f"it needs complete rows of {UNEDITED} and {PROMPT_SWAP}"
        if not self.complete(method):
            return "some forgotten concepts have no score"
        _, floor, ceiling = self._rows("forget", method)
        spans = ceiling > floor and self._rows("retain", method)[1] > 0.0
        return "" if spans else f"{UNEDITED} and {PROMPT_SWAP} do not span a range"

    def quantity(self, method: str, column: Column) -> Quantity:
        """Return a rate or a composite column of a method."""
        m = self.labels.methods.index(method)
        if column in self.concepts:
            rates = self.concepts[column][m]
            return Quantity(float(self._values[column][m]), self._draws[column][:, m], rates, rates)
        if column == "harmonic_mean":
            return self._harmonic_mean(m)
        if self.lacks(method):
            nothing = np.full(len(self.labels.forget), np.nan)
            return Quantity(float("nan"), np.full(len(self._draws["forget"]), np.nan), nothing, nothing)
        if column == "forget_norm":
            return self._forget_norm(method)
        if column == "retain_ratio":
            return self._retain_ratio(method)
        return self._harmonic_mean_norm(method)

    def _harmonic_mean(self, m: int) -> Quantity:
        forget, retain = self.concepts["forget"][m], self.concepts["retain"][m]
        both = ~np.isnan(forget) & ~np.isnan(retain)
        linear = np.full(forget.shape, np.nan)
        if both.any():
            linear[both] = formulas.linearised_harmonic_mean(forget[both], retain[both])
        value, draws = (
            formulas.harmonic_mean(means["forget"][..., m], means["retain"][..., m])
            for means in (self._values, self._draws)
        )
        return Quantity(float(value), draws, linear, formulas.harmonic_mean(forget, retain))

    def _forget_norm(self, method: str) -> Quantity:
        """(F - F_unedited) / (F_swap - F_unedited), cut to [0, 1]; ratios of means over concepts."""
        own, floor, ceiling = (self.concepts["forget"][self._index(name)] for name in (method, UNEDITED, PROMPT_SWAP))
        linear = formulas.linearised_ratio(own - floor, ceiling - floor)
        value, draws = (self._relative(means["forget"], method) for means in (self._values, self._draws))
        F, low, high = self._rows("forget", method)
        outside = not low < F < high
        paired = np.clip((own - low) / (high - low), 0.0, 1.0)
        # At a bound the slope of the cut value is 0 on one side: the draws know, the linear values would not.
        return Quantity(float(value), draws, np.full(own.shape, float(value)) if outside else linear, paired)

    def _retain_ratio(self, method: str) -> Quantity:
        """R / R_unedited, of means over concepts."""
        own, base = (self.concepts["retain"][self._index(name)] for name in (method, UNEDITED))
        m, u = self._index(method), self._index(UNEDITED)
        drawn = self._draws["retain"]
        draws = np.full(len(drawn), np.nan)
        np.divide(drawn[:, m], drawn[:, u], out=draws, where=drawn[:, u] > 0.0)
        R = self._values["retain"]
        return Quantity(float(R[m] / R[u]), draws, formulas.linearised_ratio(own, base), own / R[u])

    def _harmonic_mean_norm(self, method: str) -> Quantity:
        """Harmonic mean of normalised forget and min(1, retain ratio)."""
        forget, retain = self._forget_norm(method), self._retain_ratio(method)
        held = np.minimum(1.0, retain.value)
        slope = retain.linear if retain.value < 1.0 else np.full(retain.linear.shape, held)
        return Quantity(
            float(formulas.harmonic_mean(forget.value, held)),
            formulas.harmonic_mean(forget.draws, np.minimum(1.0, retain.draws)),
            formulas.linearised_harmonic_mean(forget.linear, slope),
            formulas.harmonic_mean(forget.paired, np.minimum(1.0, retain.paired)),
        )

    def _relative(self, means: Floats, method: str) -> Floats:
        own, low, high = (means[..., self._index(name)] for name in (method, UNEDITED, PROMPT_SWAP))
        result = np.full(own.shape, np.nan)
        np.divide(own - low, high - low, out=result, where=high > low)
        return np.asarray(np.clip(result, 0.0, 1.0), dtype=np.float64)

    def _rows(self, rate: resampling.Rate, method: str) -> tuple[float, float, float]:
        """Return the means of a method, of the floor and of the ceiling."""
        own, low, high = (float(self._values[rate][self._index(name)]) for name in (method, UNEDITED, PROMPT_SWAP))
        return own, low, high

    def _index(self, method: str) -> int:
        return self.labels.methods.index(method)
