"""A board as tidy csv: one line a value."""

from __future__ import annotations

import csv
from io import StringIO
from typing import TYPE_CHECKING

from unlearnbench.render.text import plain

if TYPE_CHECKING:
    from _csv import Writer

    from unlearnbench.board.cells import Cell
    from unlearnbench.board.data import Board
    from unlearnbench.published import PublishedTable

_CELL = ("value", "lo", "hi", "n_concepts", "n_images", "n_unscored", "n_failed", "interval", "note")


def to_csv(board: Board, by: str = "method") -> str:
    """Return one line for each method and column, or for each part, method and column; a missing number is empty.

    The view by method also has the rows of published tables; `source` tells them from measured ones.
    """
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if by == "concept":
        writer.writerow(["method", "concept", "column", *_CELL, "kind", "status", "reason"])
        for row in board.by_concept:
            for name, cell in (("forget", row.forget), ("retain", row.retain)):
                head, tail = [plain(row.method), row.concept, name], [row.kind, row.status, plain(row.reason)]
                writer.writerow([*head, *_values(cell), *tail])
        return stream.getvalue()
    if by in ("kind", "prompt-kind"):
        writer.writerow([by, "method", "column", *_CELL])
        for part in board.slices:
            for method, cells in part.cells.items() if part.by == by else ():
                for name, cell in cells.items():
                    writer.writerow([part.name, plain(method), name, *_values(cell)])
        return stream.getvalue()
    _by_method(board, writer)
    return stream.getvalue()


def _by_method(board: Board, writer: Writer) -> None:
    writer.writerow(["method", "column", *_CELL, "rank", "group", "control", "source"])
    for row in board.rows:
        for column in (*board.columns, *board.more):
            tail = ["" if row.rank is None else str(row.rank), row.group, str(row.control).lower(), "measured"]
            writer.writerow([plain(row.method), column.name, *_values(row.cells[column.name]), *tail])
    for table in board.published:
        for one in table.headline:
            label = one.method + (f" ({one.case})" if one.case else "")
            for name, value in one.values.items():
                number = "" if value is None else str(value)
                writer.writerow([label, name, number, *[""] * (len(_CELL) + 2), table.name])


def table_csv(table: PublishedTable, *, whole: bool = False) -> str:
    """Return a published table: as printed, or one row a method where the table has such."""
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [column.name for column in table.columns]
    writer.writerow(["method", "case", *names])
    for row in table.rows if whole else table.headline:
        values = (row.values.get(name) for name in names)
        writer.writerow([row.method, row.case, *("" if value is None else str(value) for value in values)])
    return stream.getvalue()


def _values(cell: Cell) -> list[str]:
    values = (getattr(cell, name) for name in _CELL)
    return ["" if value is None else plain(str(value)) for value in values]
