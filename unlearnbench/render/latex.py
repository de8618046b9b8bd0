"""A board as a LaTeX table: it needs the package booktabs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from unlearnbench.render import grids, text

if TYPE_CHECKING:
    from unlearnbench.board.data import Board
    from unlearnbench.render.grids import Grid

_SPECIAL: Final = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "[": "{[}", "]": "{]}",
}  # fmt: skip


def to_latex(board: Board, by: str = "method") -> str:
    """Return one table environment a table; notes stand in the caption, where a reader of a paper looks for them."""
    caption = [f"{board.title}.", *(f"{line}." for line in text.heading(board))]
    notes = [*text.remarks(board), *([] if by == "concept" else [*text.legend(board), *board.notes])]
    parts = [_environment(grids.view(board, by), [*caption, *(note.rstrip(".") + "." for note in notes)])]
    for table in board.published:
        lines = [f"Published, not ranked with measured rows: {table.title}.", *(f"{x}." for x in text.origin(table))]
        parts.append(_environment(grids.published_grid(table), lines))
    return "% \\usepackage{booktabs}\n" + "\n".join(parts)


def escape(line: str) -> str:
    """Return text that LaTeX shows as it is, on one line; a character outside ASCII needs LuaLaTeX or XeLaTeX."""
    return "".join(_SPECIAL.get(c, c) for c in text.plain(line))


def _environment(grid: Grid, caption: list[str]) -> str:
    columns = "".join("l" if i in grid.left else "r" for i in range(len(grid.header)))
    lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [_line(grid.header), r"\midrule"]
    for i, row in enumerate(grid.rows):
        lines += [_line(row), *([r"\midrule"] if i in grid.rules else [])]
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{escape(' '.join(caption))}}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _line(cells: tuple[str, ...]) -> str:
    return " & ".join(_cell(cell) for cell in cells) + r" \\"


def _cell(cell: str) -> str:
    value = re.fullmatch(r"([\d., +-]+) (\[[\d., +-]*\])", cell)
    # A row that begins with a bracket would be read as the argument of the line break before it.
    return rf"{value[1]} {{\scriptsize {escape(value[2])}}}" if value else escape(cell)
