"""Renderers: from a board to a terminal, markdown, json or csv. They add nothing to the board."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from unlearnbench.board import Board

Format = Literal["rich", "md", "json", "csv"]
View = Literal["method", "concept"]
FORMATS: Final[tuple[Format, ...]] = ("rich", "md", "json", "csv")


def render(board: Board, form: Format, *, by: View = "method", width: int = 80) -> str:
    """Return a board as text that ends with a line break.

    Args:
        board: the board.
        form: the format; "json" holds both views whatever `by` says.
        by: "method" = one row a method; "concept" = each method on each forgotten concept.
        width: columns of the terminal, for "rich". For colours print a `unlearnbench.render.rich.BoardView` instead.
    """
    if form == "md":
        from unlearnbench.render.markdown import to_markdown

        return to_markdown(board, by)
    if form == "json":
        from unlearnbench.render.json import to_json

        return to_json(board)
    if form == "csv":
        from unlearnbench.render.csv import to_csv

        return to_csv(board, by)
    from rich.console import Console

    from unlearnbench.render.rich import BoardView

    console = Console(file=StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(BoardView(board, by))
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines()) + "\n"
