"""A board as GitHub-flavoured markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from unlearnbench.render.text import (
    concept_note,
    heading,
    interval_of,
    legend,
    marks,
    number,
    plain,
    remarks,
    status_of,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.board import Board, Row
    from unlearnbench.cells import ColumnInfo

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#&$])")


def to_markdown(board: Board, by: str = "method") -> str:
    """Return a heading, what was measured, the table and its notes."""
    lines = [f"### {escape(board.title)}", "", *(f"{escape(line)}  " for line in heading(board)), ""]
    lines += _by_concept(board) if by == "concept" else _by_method(board)
    notes = [*remarks(board), *legend(board), *board.notes]
    if by == "concept":
        notes = [*remarks(board), *(note for note in [concept_note(board)] if note)]
    return "\n".join([*lines, "", *(f"- {escape(note)}" for note in notes)]) + "\n"


def escape(text: str) -> str:
    """Return text that markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", plain(text))


def _by_method(board: Board) -> list[str]:
    incomplete = any(marks(row, len(board.forget)) for row in board.rows)
    header = ["#", "method", *(column.title for column in board.columns), "concepts", "images"]
    rows = []
    for row in board.rows:
        base = row.cells["harmonic_mean"]
        cells = [_rank(row), escape(row.method), *(_cell(row, column) for column in board.columns)]
        cells += [str(base.n_concepts), f"{base.n_images:,}"]
        rows.append([*cells, *([", ".join(marks(row, len(board.forget)))] if incomplete else [])])
    if incomplete:
        header.append("missing")
    return _table(header, rows, left={1, len(header) - 1} if incomplete else {1})


def _by_concept(board: Board) -> list[str]:
    header = [
        "concept",
        "kind",
        *(f"{escape(row.method)} {role}" for row in board.rows for role in ("forget", "retain")),
    ]
    found = {(one.concept, one.method): one for one in board.by_concept}
    rows = []
    for concept in board.forget:
        cells: list[str] = []
        for row in board.rows:
            one = found[concept, row.method]
            for cell in (one.forget, one.retain):
                cells.append(status_of(one) or ("n/a" if cell.value is None else number(cell.value, "1", 2)))
        rows.append([escape(concept), found[concept, board.rows[0].method].kind, *cells])
    return _table(header, rows, left={0, 1})


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], left: set[int]) -> list[str]:
    rule = [":--" if i in left else "--:" for i in range(len(header))]
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]


def _cell(row: Row, column: ColumnInfo) -> str:
    cell = row.cells[column.name]
    return " ".join(part for part in (value_of(cell, column, row.control), interval_of(cell, column)) if part)


def _rank(row: Row) -> str:
    return "control" if row.control else "" if row.rank is None else f"{row.rank} {row.group}".strip()
