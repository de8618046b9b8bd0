"""Coordinates of the loss curves of a web page: one small figure for each loss of a method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from unlearnbench.board.losses import thinned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.board.data import Board
    from unlearnbench.board.losses import EditLoss, LossCurve, Point

WIDTH: Final = 300
HEIGHT: Final = 200
"""Size of a figure, in its own units; about that many pixels on a page of any width."""
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 36
LOG_FROM: Final = 20.0
"""A figure whose losses are all positive has a log axis if the largest is this many times the smallest."""
_ROUND: Final = (1.0, 2.0, 5.0, 10.0)
_MARKS: Final = 4  # intervals between marks of an axis, about


@dataclass(frozen=True)
class Mark:
    """A mark of an axis: its place and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One curve: a path with a gap where there is no loss, points that have no neighbour, and what it is."""

    path: str
    dots: tuple[tuple[float, float], ...]
    title: str


@dataclass(frozen=True)
class Figures:
    """What a table says of one curve."""

    name: str
    optimisations: int
    steps: int
    first: str
    last: str


@dataclass(frozen=True)
class Panel:
    """One loss of a method, for every concept.

    Attributes:
        method: label of the row.
        loss: which of its losses; "" if it has one.
        colour: number of the method's colour.
        lines: the curves.
        mean: mean over the curves; None if there is one, or if their steps differ.
        x_marks: marks of the axis of steps.
        y_marks: marks of the axis of losses.
        facts: what stands below the figure.
        table: the curves in figures.
    """

    method: str
    loss: str
    colour: int
    lines: tuple[Line, ...]
    mean: Line | None
    x_marks: tuple[Mark, ...]
    y_marks: tuple[Mark, ...]
    facts: str
    table: tuple[Figures, ...]


@dataclass(frozen=True)
class Axis:
    """From losses to heights: linear, or the logarithm of positive ones."""

    low: float
    high: float
    log: bool

    def place(self, loss: float) -> float:
        """Return the height of a loss."""
        low, high, value = (math.log10(x) if self.log else x for x in (self.low, self.high, loss))
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP), 1)

    def marks(self) -> tuple[Mark, ...]:
        """Return round losses from the axis."""
        values = _log_marks(self.low, self.high) if self.log else _marks(self.low, self.high)
        return tuple(Mark(self.place(value), short(value)) for value in values)


def panels(board: Board, losses: Sequence[EditLoss], colours: dict[str, int]) -> list[Panel]:
    """Return the figures, the methods in the order of the board."""
    found = []
    for row in board.rows:
        own = sorted((one for one in losses if one.method == row.method), key=lambda one: one.curve.loss)
        for loss, curves in groupby(own, key=lambda one: one.curve.loss):
            panel = _panel(loss, list(curves), colours[row.method])
            found += [panel] if panel else []
    return found


def axis_of(losses: Sequence[float]) -> Axis:
    """Return the axis of losses: logarithmic if all are positive and far apart, else linear, and 0 is on it.

    Args:
        losses: finite, at least one.
    """
    low, high = min(losses), max(losses)
    if low > 0.0 and high >= LOG_FROM * low:
        return Axis(low / 1.15, high * 1.15, log=True)
    low, high = min(0.0, low), max(0.0, high)
    room = 0.05 * (high - low) or 1.0
    return Axis(low - (room if low < 0.0 else 0.0), high + (room if high > 0.0 or low == 0.0 else 0.0), log=False)


def short(value: float) -> str:
    """Return a loss in few characters: `0.02`, `1,500`, `2e-6`."""
    if value != 0.0 and not 1e-3 <= abs(value) < 1e5:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def said(value: float) -> str:
    """Return a loss as text; n/a = it is not finite."""
    return short(value) if math.isfinite(value) else "n/a"


def _panel(loss: str, edits: Sequence[EditLoss], colour: int) -> Panel | None:
    """Return the figure of some curves; None if no point of them has a loss."""
    curves = [thinned(one.curve.runs) for one in edits]
    drawn = [point.loss for curve in curves for run in curve for point in run if math.isfinite(point.loss)]
    if not drawn:
        return None
    axis, steps = axis_of(drawn), max(one.curve.steps for one in edits)
    names = [_name(one) for one in edits]
    lines = [
        _line(curve, axis, steps, f"{name}: {said(one.curve.first)} → {said(one.curve.last)}")
        for name, one, curve in zip(names, edits, curves, strict=True)
    ]
    mean = _mean(curves)
    return Panel(
        method=edits[0].method,
        loss=loss,
        colour=colour,
        lines=tuple(lines),
        mean=_line(mean, axis, steps, f"mean of {len(curves)}") if mean else None,
        x_marks=tuple(Mark(_x_of(step, steps), f"{step:,}") for step in _steps(steps)),
        y_marks=axis.marks(),
        facts=_facts([one.curve for one in edits], curves, axis),
        table=tuple(
            Figures(name, len(one.curve.runs), one.curve.steps, said(one.curve.first), said(one.curve.last))
            for name, one in zip(names, edits, strict=True)
        ),
    )


def _name(one: EditLoss) -> str:
    """Return what a curve is of: the forgotten concept, or one concept of several."""
    return one.forget if one.curve.concept in ("", one.forget) else f"{one.curve.concept} of {one.forget}"


def _mean(curves: Sequence[Sequence[Sequence[Point]]]) -> list[list[tuple[float, float]]]:
    """Return the mean over curves that have the same steps, NaN where one is; empty if there is no such mean."""
    places = [[[(point.step, point.steps) for point in run] for run in curve] for curve in curves]
    if len(curves) < 2 or any(own != places[0] for own in places):
        return []
    return [
        [
            (points[0].step, math.fsum(point.loss for point in points) / len(points))
            for points in zip(*runs, strict=True)
        ]
        for runs in zip(*curves, strict=True)
    ]


def _line(runs: Sequence[Sequence[Point | tuple[float, float]]], axis: Axis, steps: int, title: str) -> Line:
    parts, dots = [], []
    for run in runs:
        places = [one if isinstance(one, tuple) else (one.step, one.loss) for one in run]
        for finite, group in groupby(places, key=lambda place: math.isfinite(place[1])):
            points = [(_x_of(step, steps), axis.place(loss)) for step, loss in group] if finite else []
            if len(points) == 1:
                dots += points
            elif points:
                parts.append("M" + " ".join(f"{x:g},{y:g}" for x, y in points))
    return Line("".join(parts), tuple(dots), title)


def _x_of(step: float, steps: int) -> float:
    """Return the coordinate of a step, counted from 1; a single step stands in the middle."""
    share = 0.5 if steps == 1 else (step - 1) / (steps - 1)
    return round(LEFT + 6 + share * (WIDTH - LEFT - RIGHT - 12), 1)


def _steps(steps: int) -> list[int]:
    """Return round numbers of steps from 1 to the last, which do not stand too near to each other."""
    if steps == 1:
        return [1]
    inside = [round(value) for value in _marks(0.0, steps) if value == round(value)]
    return [1, *(step for step in inside if max(1, 0.15 * steps) < step < 0.88 * steps), steps]


def _marks(low: float, high: float) -> list[float]:
    rough = (high - low) / _MARKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in _ROUND if factor * power >= 0.999 * rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_marks(low: float, high: float) -> list[float]:
    """Return powers of ten, not all of them where there are many, and 2 and 5 times them where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1.0, 2.0, 5.0) if high < 200.0 * low else (1.0,)
    values = [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]
    return values[:: math.ceil(len(values) / (_MARKS + 2))]


def _facts(curves: Sequence[LossCurve], drawn: Sequence[Sequence[Sequence[Point]]], axis: Axis) -> str:
    """Return in words how long the curves are, how they were thinned, what they lack, and the axis."""
    totals, runs = {curve.steps for curve in curves}, {len(curve.runs) for curve in curves}
    lengths = {len(run) for curve in curves for run in curve.runs}
    if runs == {1} or max(len(runs), len(lengths)) > 1:
        facts = [_steps_of(totals)]
    else:
        facts = [f"{runs.pop():,} optimisations of {_steps_of(lengths)}, one after the other"]
    block = max(point.steps for curve in drawn for run in curve for point in run)
    if block > 1:
        facts.append(f"a point is the mean of up to {block:,} steps")
    if missing := sum(math.isnan(loss) for curve in curves for run in curve.runs for loss in run):
        facts.append(f"a gap where a loss is not finite ({missing:,} in all)")
    return "; ".join([*facts, "log axis" if axis.log else "linear axis"])


def _steps_of(counts: set[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,} to {high:,} steps" if low < high else f"{low:,} step{'' if low == 1 else 's'}"
