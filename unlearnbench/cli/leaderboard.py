"""`unlearnbench leaderboard`: the board of what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unlearnbench.cli.options import FORMATS, open_store, store_option
from unlearnbench.errors import PrerequisiteError
from unlearnbench.identity import short
from unlearnbench.publish import Published, published
from unlearnbench.store import replace_text
from unlearnbench.suites import DEFAULT_SUITE

if TYPE_CHECKING:
    from unlearnbench.board import Board


@click.command("leaderboard")
@click.argument("suite", default=DEFAULT_SUITE)
@click.option(
    "--protocol", metavar="DIGEST", help="First digits of a protocol digest.  [default: the one that ran last]"
)
@click.option("--by", type=click.Choice(["method", "concept"]), default="method", show_default=True, help="Rows.")
@click.option("-f", "--format", "form", type=click.Choice(FORMATS), default="rich", show_default=True, help="Form.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE.")
@store_option
def leaderboard_command(
    suite: str, protocol: str | None, by: Any, form: Any, output: Path | None, store_root: Path | None
) -> None:
    """Show the board of SUITE from the scores that are stored; nothing is run."""
    store = open_store(store_root)
    found = published(store, suite, protocol=protocol)
    if not found:
        if not published(store, suite):
            from unlearnbench.plugins import load_plugins

            load_plugins().suites.get(suite)  # an unknown suite is a mistake of its own
        under = f" under protocol {protocol}" if protocol else ""
        raise PrerequisiteError(
            f"no scores of suite '{suite}'{under} in {store.root}",
            f"type `unlearnbench run {suite} --method NAME` first",
        )
    if len(found) > 1:
        others = "; ".join(f"{short(p.protocol)} forgets {', '.join(p.suite.forget)}" for p in found[1:4])
        click.echo(f"protocol {short(found[0].protocol)}; there are others, see --protocol: {others}", err=True)
    show_board(found[0], form=form, by=by, output=output)


def show_board(scores: Published, *, form: Any, by: Any = "method", output: Path | None = None) -> None:
    """Print the board of one protocol, or write it to a file in one step.

    Raises:
        PrerequisiteError: the file cannot be written.
    """
    from unlearnbench.render import render

    board = make(scores)
    if output is not None:
        try:
            replace_text(output, render(board, form, by=by))
        except OSError as error:
            raise PrerequisiteError(f"cannot write {output}: {error.strerror}", "name another file with -o") from error
    elif form == "rich":
        from rich.console import Console

        from unlearnbench.render.rich import BoardView

        Console().print(BoardView(board, by=by))
    else:
        click.echo(render(board, form, by=by), nl=False)


def make(scores: Published) -> Board:
    """Return the board of one protocol."""
    from unlearnbench.board import Identified, make_board

    suite = scores.suite
    model = Identified(id=suite.model.id, fingerprint=scores.fields["model"])
    sampler, judge = scores.fields["sampler"], scores.fields["judge"]
    seeds = ", ".join(str(seed) for seed in suite.seeds)
    settings = ", ".join(f"{name} {value}" for name, value in sorted(judge["params"].items()))
    notes = [
        f"Sampler: {sampler['scheduler']}, {sampler['steps']} steps, guidance scale {sampler['guidance']:g}, "
        f"sampling seed{'s' if len(suite.seeds) > 1 else ''} {seeds}.",
        f"Judge: {judge['name']} ({settings}).",
    ]
    table = scores.scores()
    for method, preset in sorted(suite.presets.items()):
        if (table["plugin"] == method).any():
            values = ", ".join(f"{name} {value}" for name, value in sorted(preset.items()))
            notes.append(f"The suite sets for {method}: {values}.")
    return make_board(table, title=suite.title, columns=suite.columns, model=model, notes=notes)
