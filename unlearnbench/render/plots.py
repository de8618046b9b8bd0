"""Coordinates of the figures of a web page: the trade-off of forget and retain, and differences with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from unlearnbench.board.cells import Cell
    from unlearnbench.board.data import Board

SIZE: Final = 640
"""Width and height of the trade-off figure, in its own units."""
_LEFT, _BOTTOM, _TOP, _RIGHT = 70, 56, 14, 16
_LABEL: Final = 21  # height of a label, also on a phone
_CURVES: Final = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Point:
    """One row of the board: where it stands, its intervals, and where its label goes."""

    method: str
    control: bool
    colour: int
    x: float
    y: float
    x_lo: float
    x_hi: float
    y_lo: float
    y_hi: float
    label_x: float
    label_y: float
    anchor: str
    title: str


@dataclass(frozen=True)
class Curve:
    """Where the harmonic mean is the same."""

    value: float
    path: str
    label_x: float
    label_y: float


def x_of(share: float) -> float:
    """Return the coordinate of a forget share."""
    return round(_LEFT + share * (SIZE - _LEFT - _RIGHT), 1)


def y_of(share: float) -> float:
    """Return the coordinate of a retain share."""
    return round(SIZE - _BOTTOM - share * (SIZE - _BOTTOM - _TOP), 1)


def curves() -> list[Curve]:
    """Return the lines of equal harmonic mean H: retain = H forget / (2 forget - H)."""
    found = []
    for value in _CURVES:
        least = value / (2.0 - value)  # forget where retain is 1
        steps = [least + (1.0 - least) * i / 60 for i in range(61)]
        points = [(x_of(f), y_of(value * f / (2.0 * f - value))) for f in steps]
        path = "M" + " L".join(f"{x},{y}" for x, y in points)
        found.append(Curve(value, path, x_of(1.0) - 4, y_of(least) - 5))
    return found


def scatter(board: Board, colours: dict[str, int]) -> list[Point]:
    """Return the rows that have both values, with labels that do not lie on each other."""
    found: list[Point] = []
    taken: list[tuple[float, float, float]] = []  # left, right, y of the labels so far
    rows = [r for r in board.rows if r.cells["forget"].value is not None and r.cells["retain"].value is not None]
    for row in sorted(rows, key=lambda r: -(r.cells["retain"].value or 0.0)):
        forget, retain = row.cells["forget"], row.cells["retain"]
        x, y = x_of(forget.value or 0.0), y_of(retain.value or 0.0)
        width = 9.0 * len(row.method)
        anchor = "end" if x + 14 + width > SIZE else "start"
        left = x - 12 - width if anchor == "end" else x + 12
        # Above the interval or below it, then further away, until no other label is there.
        label_y = next(
            height
            for height in (y + side for step in range(len(rows)) for side in (-10 - step * _LABEL, 23 + step * _LABEL))
            if not any(left < x1 and x0 < left + width and abs(height - y0) < _LABEL for x0, x1, y0 in taken)
        )
        taken.append((left, left + width, label_y))
        x_lo, x_hi = _ends(forget)
        y_lo, y_hi = _ends(retain)
        found.append(
            Point(
                method=row.method,
                control=row.control,
                colour=colours[row.method],
                x=x,
                y=y,
                x_lo=x_of(x_lo),
                x_hi=x_of(x_hi),
                y_lo=y_of(y_lo),
                y_hi=y_of(y_hi),
                label_x=x - 12 if anchor == "end" else x + 12,
                label_y=label_y,
                anchor=anchor,
                title=f"{row.method}: forget {forget.value:.3f}, retain {retain.value:.3f}",
            )
        )
    return found


def _ends(cell: Cell) -> tuple[float, float]:
    """Return the interval of a cell; its value twice where it has none."""
    value = cell.value or 0.0
    return (value, value) if cell.lo is None or cell.hi is None else (cell.lo, cell.hi)
