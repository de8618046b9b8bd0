"""The tables of a board as plain text in cells: what markdown, LaTeX and the terminal lay out, each in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnbench.board.columns import COLUMNS
from unlearnbench.render.text import interval_of, marks, number, p_value, status_of, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.board.cells import Cell
    from unlearnbench.board.columns import ColumnInfo
    from unlearnbench.board.comparison import Difference
    from unlearnbench.board.data import Board, Row
    from unlearnbench.published import PublishedTable


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    Attributes:
        header: one title a column.
        rows: as many texts a row.
        left: columns that are aligned to the left; the others are numbers.
        keys: how many columns at the left say what a row is; they are repeated where a table is broken.
        rules: rows that a rule stands below.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: frozenset[int]
    keys: int
    rules: frozenset[int] = frozenset()


def view(board: Board, by: str) -> Grid:
    """Return the table of one view: method, concept, kind or prompt-kind."""
    if by == "method":
        return method_grid(board)
    return concept_grid(board) if by == "concept" else slice_grid(board, by)


def method_grid(board: Board) -> Grid:
    """Return one row a method."""
    incomplete = any(marks(row, len(board.forget)) for row in board.rows)
    header = ["#", "method", *(column.title for column in board.columns), "concepts", "images"]
    rows = []
    for row in board.rows:
        base = row.cells["harmonic_mean"]
        cells = [rank_of(row), row.method, *(both(row.cells[c.name], c, row.unedited) for c in board.columns)]
        cells += [str(base.n_concepts), f"{base.n_images:,}"]
        rows.append((*cells, *([", ".join(marks(row, len(board.forget)))] if incomplete else [])))
    if incomplete:
        header.append("marks")
    left = {1, len(header) - 1} if incomplete else {1}
    return Grid(tuple(header), tuple(rows), frozenset(left), 2, _before_controls(board))


def concept_grid(board: Board) -> Grid:
    """Return one row a forgotten concept, with forget and retain of each method."""
    found = {(one.concept, one.method): one for one in board.by_concept}
    header = ["concept", "kind", *(f"{row.method} {role}" for row in board.rows for role in ("forget", "retain"))]
    rows = []
    for concept in board.forget:
        cells: list[str] = []
        for row in board.rows:
            one = found[concept, row.method]
            cells += [status_of(one) or _short(cell) for cell in (one.forget, one.retain)]
        rows.append((concept, found[concept, board.rows[0].method].kind, *cells))
    return Grid(tuple(header), tuple(rows), frozenset({0, 1}), 2)


def slice_grid(board: Board, by: str) -> Grid:
    """Return forget, retain and harmonic mean of each method on each part of the board."""
    rows, rules = [], set()
    columns = [COLUMNS[name] for name in ("forget", "retain", "harmonic_mean")]
    for part in board.slices:
        if part.by != by:
            continue
        for row in board.rows:
            if row.method in part.cells:
                cells = part.cells[row.method]
                texts = (both(cells[column.name], column, row.unedited) for column in columns)
                rows.append((part.name, row.method, *texts, str(len(part.forget))))
        rules.add(len(rows) - 1)
    header = ("prompts" if by == "prompt-kind" else "kind", "method", *(c.title for c in columns), "concepts")
    return Grid(header, tuple(rows), frozenset({0, 1}), 2, frozenset(rules - {len(rows) - 1}))


def published_grid(table: PublishedTable, *, whole: bool = False) -> Grid:
    """Return a published table: as printed, or one row a method where the table has such.

    Args:
        table: the table.
        whole: as printed.
    """
    rows = table.rows if whole else table.headline
    columns = [column for column in table.columns if any(row.values.get(column.name) is not None for row in rows)]
    cases = len({row.case for row in rows}) > 1
    texts = []
    for row in rows:
        values = (row.values.get(column.name) for column in columns)
        cells = (
            "" if value is None else number(value, column.unit) for value, column in zip(values, columns, strict=True)
        )
        texts.append((row.method, *([row.case] if cases else []), *cells))
    header = ("method", *([table.case] if cases else []), *(titled(column.title, column.unit) for column in columns))
    keys = 2 if cases else 1
    return Grid(header, tuple(texts), frozenset(range(keys)), keys)


def difference_grid(found: Sequence[Difference]) -> Grid:
    """Return one row a column: the difference of two methods."""
    rows = []
    for one in found:
        value, lo, hi = ("n/a" if x is None else signed(x) for x in (one.value, one.lo, one.hi))
        bounds = f" [{lo},{hi}]" if one.lo is not None and one.hi is not None else ""
        median = "n/a" if one.median is None else signed(one.median)
        counts = f"{one.wins}/{one.ties}/{one.losses}"
        rows.append((COLUMNS[one.column].title, value + bounds, median, counts, p_value(one.p)))
    return Grid(("column", "difference", "median", "win/tie/loss", "p"), tuple(rows), frozenset({0}), 1)


def both(cell: Cell, column: ColumnInfo, unedited: bool) -> str:
    """Return a value and its interval."""
    return " ".join(part for part in (value_of(cell, column, unedited), interval_of(cell, column)) if part)


def rank_of(row: Row) -> str:
    """Return rank and letters of a row."""
    return "control" if row.control else "" if row.rank is None else f"{row.rank} {row.group}".strip()


def signed(value: float) -> str:
    """Return a difference of shares with its sign."""
    text = number(abs(value), "1")
    return text if not float(text) else ("+" if value > 0.0 else "-") + text


def titled(title: str, unit: str) -> str:
    """Return a title with its unit, where it has one that numbers do not show."""
    return title if unit in ("1", "n", "") else f"{title} [{unit}]"


def _short(cell: Cell) -> str:
    return "n/a" if cell.value is None else number(cell.value, "1", 2)


def _before_controls(board: Board) -> frozenset[int]:
    first = [i for i, row in enumerate(board.rows) if row.control]
    return frozenset({first[0] - 1} if first and first[0] else ())
