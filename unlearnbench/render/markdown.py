"""A board as GitHub-flavoured markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from unlearnbench.render import grids, text

if TYPE_CHECKING:
    from unlearnbench.board.data import Board
    from unlearnbench.render.grids import Grid

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#&$])")


def to_markdown(board: Board, by: str = "method") -> str:
    """Return a heading, what was measured, the table and its notes, then the published tables."""
    lines = [f"### {escape(board.title)}", "", *(f"{escape(line)}  " for line in text.heading(board)), ""]
    lines += markdown_table(grids.view(board, by))
    notes = [*text.remarks(board), *text.legend(board), *board.notes]
    if by == "concept":
        notes = [*text.remarks(board), *(note for note in [text.concept_note(board)] if note)]
    lines += ["", *(f"- {escape(note)}" for note in notes)]
    for table in board.published:
        lines += ["", f"#### Published, not ranked with the rows above: {escape(table.title)}", ""]
        lines += [*markdown_table(grids.published_grid(table)), ""]
        lines += [f"- {escape(line)}" for line in text.origin(table)]
    return "\n".join(lines) + "\n"


def markdown_table(grid: Grid) -> list[str]:
    """Return the lines of a table."""
    rule = [":--" if i in grid.left else "--:" for i in range(len(grid.header))]
    rows = [[escape_cell(cell) for cell in row] for row in (grid.header, *grid.rows)]
    return ["| " + " | ".join(cells) + " |" for cells in (rows[0], rule, *rows[1:])]


def escape(line: str) -> str:
    """Return text that markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", text.plain(line))


def escape_cell(cell: str) -> str:
    """Return a cell that markdown shows as it is; brackets of intervals need no escape, as no link follows them."""
    return cell if re.fullmatch(r"[\w#., +-]*(\[[\d., +-]*\])?", cell) and "_" not in cell else escape(cell)
