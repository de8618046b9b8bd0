"""Loss curves of a board: what methods that optimise recorded with their edits, out of the store."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from unlearnbench.run.several import members
from unlearnbench.verdict import REPORT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from unlearnbench.store import Store

MOST: Final = 200
"""Points of a drawn curve, at most."""
_NAME: Final = "losses"
_NO_NUMBER: Final = frozenset({"nan", "inf", "-inf"})  # how `report.json` writes what JSON does not know
_TENTH: Final = 10

Runs = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class LossCurve:
    """One loss of one edit.

    Attributes:
        loss: which of the method's losses: "" if it has one; else such as "inversion" or "term 1 of 2".
        concept: the concept whose loss it is; "" = it is of the whole edit.
        runs: loss before every step, of each optimisation in turn; a loss that is not finite is NaN. An edit that is
            one optimisation has one.
    """

    loss: str
    concept: str
    runs: Runs

    @property
    def steps(self) -> int:
        """Return the steps of all optimisations together."""
        return sum(map(len, self.runs))

    @property
    def first(self) -> float:
        """Return the mean loss of the first tenth of each optimisation, at least one step; NaN if one has none."""
        return _mean([x for run in self.runs for x in run[: _tenth(run)]])

    @property
    def last(self) -> float:
        """Return the mean loss of the last tenth of each optimisation, at least one step; NaN if one has none."""
        return _mean([x for run in self.runs for x in run[-_tenth(run) :]])

    def figures(self) -> dict[str, str | int | float]:
        """Return which loss it is, how many optimisations and steps it has, and its first and last loss."""
        return {
            "loss": self.loss, "concept": self.concept, "optimisations": len(self.runs), "steps": self.steps,
            "first": self.first, "last": self.last,
        }  # fmt: skip


@dataclass(frozen=True)
class EditLoss:
    """A curve on a board: label of the row, what the edit forgets, and the curve."""

    method: str
    forget: str
    curve: LossCurve


@dataclass(frozen=True)
class Point:
    """A point of a drawn curve.

    Attributes:
        step: mean number of its steps, counted from 1 over all optimisations.
        loss: their mean loss; NaN if that of one is NaN.
        steps: how many they are.
    """

    step: float
    loss: float
    steps: int


# ---------------------------------------------------------------- out of the store
def stored_losses(scores: pd.DataFrame, store: Store) -> list[EditLoss]:
    """Return the curves of the edits behind a board, those of broken edits included; the first method seed alone.

    Args:
        scores: scores table of one protocol and judge.
        store: where the edits are; one that it lacks, or that recorded no loss, has no curve.
    """
    first = scores.groupby("method")["method_seed"].transform("min")
    edits = scores[(scores["edit_key"] != "") & (scores["method_seed"] == first)]
    found = []
    row: Any  # a named tuple, whose fields no type checker knows
    for row in edits.drop_duplicates(["method", "forget"]).sort_values(["method", "forget"]).itertuples():
        try:
            text = (store.folder("edit", str(row.edit_key)) / REPORT).read_text(encoding="utf-8")
            report = json.loads(text)["report"]
        except (OSError, ValueError, KeyError):
            continue
        steps = members(str(row.forget)) if ">" in str(row.forget) else ()
        found += [EditLoss(str(row.method), str(row.forget), curve) for curve in loss_curves(report, steps)]
    return found


def loss_curves(report: Mapping[str, Any], sequence: Sequence[str] = ()) -> list[LossCurve]:
    """Return the curves in the diagnostics of an edit: what is called `losses`, or ends with `_losses`.

    A loss is [steps] numbers; [steps][terms] for several terms of one objective; [edits][layers][steps] where each
    layer is optimised by itself, edit after edit; or any of these by concept. Other forms are no curves.

    Args:
        report: what the method reported.
        sequence: concepts that were forgotten one after the other; `report` is then by concept.
    """
    if sequence:
        parts = {concept: report.get(concept) for concept in sequence}
        return [
            LossCurve(curve.loss, curve.concept or concept, curve.runs)
            for concept, own in parts.items()
            if isinstance(own, dict)
            for curve in loss_curves(own)
        ]
    found = []
    for name, value in report.items():
        if name == _NAME or name.endswith(f"_{_NAME}"):
            loss = name.removesuffix(_NAME).replace("_", " ").strip()
            by_concept = value if isinstance(value, dict) else {"": value}
            for concept, own in by_concept.items():
                found += [LossCurve(_named(loss, term), str(concept), runs) for term, runs in _terms(own)]
    return found


def _named(loss: str, term: str) -> str:
    return ", ".join(part for part in (loss, term) if part)


def _terms(value: Any) -> Iterator[tuple[str, Runs]]:
    """Yield each term of a loss, with its name if there are several."""
    if (run := _run(value)) is not None:
        yield from [("", (run,))] if run else []
        return
    rows = [_run(part) for part in value] if isinstance(value, list) else [None]
    numbers = [row for row in rows if row is not None]
    if len(numbers) == len(rows):
        if len({len(row) for row in numbers}) == 1:
            terms = list(zip(*numbers, strict=True))
            for number, term in enumerate(terms, 1):
                yield f"term {number} of {len(terms)}" if len(terms) > 1 else "", (term,)
        return
    if isinstance(value, list) and all(isinstance(edit, list) for edit in value):
        layers = [_run(layer) for edit in value for layer in edit]
        runs = tuple(layer for layer in layers if layer)
        if runs and None not in layers:
            yield "", runs


def _run(value: Any) -> tuple[float, ...] | None:
    """Return a list of numbers, NaN for what is not finite; None = it is no such list."""
    if not isinstance(value, list):
        return None
    found = []
    for x in value:
        if x is None or (isinstance(x, str) and x in _NO_NUMBER):
            found.append(math.nan)
        elif isinstance(x, int | float) and not isinstance(x, bool):
            found.append(float(x) if math.isfinite(x) else math.nan)
        else:
            return None
    return tuple(found)


# ---------------------------------------------------------------- fewer points
def thinned(runs: Sequence[Sequence[float]], most: int = MOST) -> list[list[Point]]:
    """Return a curve with few points, by means of neighbouring steps, as nearly equally many of each as can be.

    No mean is over steps of two optimisations, unless these are more than the points may be. Optimisations that are
    left with one point each are joined.

    Args:
        runs: losses of every optimisation, each of at least one step.
        most: points in all, at most.

    Returns:
        The points of each optimisation. Their losses, weighted by `steps`, have the mean of `runs`.
    """
    if len(runs) > most:
        runs = [[x for run in runs for x in run]]
    lengths = [len(run) for run in runs]
    least = max(1, math.ceil(sum(lengths) / most))
    size = next(size for size in count(least) if sum(math.ceil(n / size) for n in lengths) <= most)
    found, before = [], 0
    for run in runs:
        points = []
        for part in np.array_split(np.asarray(run, dtype=np.float64), math.ceil(len(run) / size)):
            points.append(Point(before + (len(part) + 1) / 2, float(part.mean()), len(part)))
            before += len(part)
        found.append(points)
    return [[point for points in found for point in points]] if all(len(points) == 1 for points in found) else found


def _tenth(run: Sequence[float]) -> int:
    return max(1, len(run) // _TENTH)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
