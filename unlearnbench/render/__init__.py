"""Renderers: from a board to a terminal, markdown, LaTeX, json, csv or a web page. They add nothing to the board."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.board.data import Board
    from unlearnbench.board.gallery import Picture
    from unlearnbench.board.losses import EditLoss

Format = Literal["rich", "md", "html", "latex", "json", "csv"]
View = Literal["method", "concept", "kind", "prompt-kind"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
VIEWS: Final[tuple[View, ...]] = get_args(View)


def render(
    board: Board, form: Format, *, by: View = "method", width: int = 80, pictures: Sequence[Picture] = (),
    losses: Sequence[EditLoss] = (),
) -> str:  # fmt: skip
    """Return a board as text that ends with a line break.

    Args:
        board: the board.
        form: the format; "json" and "html" hold all views whatever `by` says.
        by: "method" = one row a method; "concept" = each method on each forgotten concept; "kind" and "prompt-kind" =
            each method on a part of the concepts or of the prompts.
        width: columns of the terminal, for "rich". For colours print a `unlearnbench.render.rich.BoardView` instead.
        pictures: images for "html".
        losses: loss curves for "html".
    """
    if form == "md":
        from unlearnbench.render.markdown import to_markdown

        return to_markdown(board, by)
    if form == "latex":
        from unlearnbench.render.latex import to_latex

        return to_latex(board, by)
    if form == "html":
        from unlearnbench.render.html import to_html

        return to_html(board, pictures, losses)
    if form == "json":
        from unlearnbench.render.json import to_json

        return to_json(board)
    if form == "csv":
        from unlearnbench.render.csv import to_csv

        return to_csv(board, by)
    from unlearnbench.render.rich import BoardView

    return as_text(BoardView(board, by), width=width)


def as_text(renderable: object, *, width: int = 80) -> str:
    """Return what a rich console of that width shows, without colours and trailing blanks."""
    from rich.console import Console

    console = Console(file=StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines()) + "\n"
