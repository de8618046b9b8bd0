"""`unlearnbench leaderboard`: the board of what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unlearnbench.atomic import replace_text
from unlearnbench.cli.options import FORMATS, open_store, store_option
from unlearnbench.errors import PrerequisiteError
from unlearnbench.identity import short
from unlearnbench.results.publish import Results, stored_results
from unlearnbench.store import Store
from unlearnbench.suites import DEFAULT_SUITE

if TYPE_CHECKING:
    from collections.abc import Sequence


VIEWS = ("method", "concept", "kind", "prompt-kind")


@click.command("leaderboard")
@click.argument("suite", default=DEFAULT_SUITE)
@click.option(
    "--protocol", metavar="DIGEST", help="First digits of a protocol digest.  [default: the one that ran last]"
)
@click.option("--by", type=click.Choice(VIEWS), default="method", show_default=True, help="Rows.")
@click.option(
    "--published", "tables", multiple=True, metavar="NAME", help="Show a published table beside the board; again."
)
@click.option("-f", "--format", "form", type=click.Choice(FORMATS), default="rich", show_default=True, help="Form.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE.")
@click.option(
    "--images", type=click.IntRange(0, 100), default=4, show_default=True,
    help="For html: prompts of each forgotten concept whose images are shown.",
)  # fmt: skip
@click.option("--show-sensitive", is_flag=True, help="For html: blur no image.")
@store_option
def leaderboard_command(
    suite: str, protocol: str | None, by: Any, tables: tuple[str, ...], form: Any, output: Path | None, images: int,
    show_sensitive: bool, store_root: Path | None,
) -> None:  # fmt: skip
    """Show the board of SUITE from the scores that are stored; nothing is run."""
    found = find(open_store(store_root), suite, protocol)
    show_board(found, form=form, by=by, output=output, tables=tables, images=images, show_sensitive=show_sensitive)


def find(store: Store, suite: str, protocol: str | None) -> Results:
    """Return the scores of the protocol that ran last; name the others on stderr.

    Raises:
        UserError: there is no such suite.
        PrerequisiteError: it has no scores.
    """
    found = stored_results(store, suite, protocol=protocol)
    if not found:
        if not stored_results(store, suite):
            from unlearnbench.plugins import load_plugins

            load_plugins().suites.get(suite)  # an unknown suite is a mistake of its own
        under = f" under protocol {protocol}" if protocol else ""
        raise PrerequisiteError(
            f"no scores of suite '{suite}'{under} in {store.root}",
            f"type `unlearnbench run {suite} --method NAME` first",
        )
    if len(found) > 1:
        others = "; ".join(
            f"{short(p.protocol)} judged by {p.fields['judge']['name']} forgets {', '.join(p.suite.forget)}"
            for p in found[1:4]
        )
        click.echo(f"protocol {short(found[0].protocol)}; there are others, see --protocol: {others}", err=True)
    return found[0]


def show_board(
    results: Results, *, form: Any, by: Any = "method", output: Path | None = None, tables: Sequence[str] = (),
    images: int = 4, show_sensitive: bool = False,
) -> None:  # fmt: skip
    """Print the board of one protocol, or write it to a file in one step.

    Args:
        results: the scores.
        form: format.
        by: view.
        output: file to write to; None = stdout.
        tables: names of published tables.
        images: for html, prompts of each forgotten concept whose images are shown.
        show_sensitive: for html, blur no image.

    Raises:
        PrerequisiteError: the file cannot be written.
    """
    from unlearnbench.board.measured import board_of
    from unlearnbench.render import render

    scores = results.scores()
    board = board_of(results, scores, tables)
    shown, curves = [], []
    if form == "html":
        from unlearnbench.board.gallery import pictures
        from unlearnbench.board.losses import stored_losses

        store = Store(results.folder.parents[2])
        hidden = () if show_sensitive else results.suite.sensitive
        shown = pictures(scores, store, prompts=images, sensitive=hidden)
        curves = stored_losses(scores, store)
    if form == "rich" and output is None:
        from rich.console import Console

        from unlearnbench.render.rich import BoardView

        Console().print(BoardView(board, by=by))
    else:
        write(render(board, form, by=by, pictures=shown, losses=curves), output)


def write(text: str, output: Path | None) -> None:
    """Print a text, or write it to a file in one step.

    Raises:
        PrerequisiteError: the file cannot be written.
    """
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        replace_text(output, text)
    except OSError as error:
        raise PrerequisiteError(f"cannot write {output}: {error.strerror}", "name another file with -o") from error
