"""A board as tidy csv: one line a value."""

from __future__ import annotations

import csv
from io import StringIO
from typing import TYPE_CHECKING

from unlearnbench.render.text import plain

if TYPE_CHECKING:
    from unlearnbench.board import Board
    from unlearnbench.cells import Cell

_CELL = ("value", "lo", "hi", "n_concepts", "n_images", "n_unscored", "n_failed", "interval", "note")


def to_csv(board: Board, by: str = "method") -> str:
    """Return one line for each method and column, or for each method, concept and column; a missing number is empty."""
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if by == "concept":
        writer.writerow(["method", "concept", "column", *_CELL, "kind", "status", "reason"])
        for one in board.by_concept:
            for name, cell in (("forget", one.forget), ("retain", one.retain)):
                head, tail = [plain(one.method), one.concept, name], [one.kind, one.status, plain(one.reason)]
                writer.writerow([*head, *_values(cell), *tail])
        return stream.getvalue()
    writer.writerow(["method", "column", *_CELL, "rank", "group", "control"])
    for row in board.rows:
        for column in board.columns:
            tail = ["" if row.rank is None else str(row.rank), row.group, str(row.control).lower()]
            writer.writerow([plain(row.method), column.name, *_values(row.cells[column.name]), *tail])
    return stream.getvalue()


def _values(cell: Cell) -> list[str]:
    values = (getattr(cell, name) for name in _CELL)
    return ["" if value is None else plain(str(value)) for value in values]
