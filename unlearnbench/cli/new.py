"""`unlearnbench new`: a plugin package to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from unlearnbench.scaffold import KINDS, new

if TYPE_CHECKING:
    from unlearnbench.scaffold import Kind

_TRY = {
    "method": "unlearnbench run --method {name}",
    "evaluator": "unlearnbench run --evaluator {name}",
    "dataset": "unlearnbench run {name}-quick",
}


@click.command("new")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option(
    "--path",
    "parent",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where the folder unlearnbench-NAME goes.  [default: here]",
)
def new_command(kind: Kind, name: str, parent: Path) -> None:
    """Write a plugin package that works, to replace part by part.

    It installs, is listed, runs on the embedded model, and passes `unlearnbench check`.
    """
    from unlearnbench.plugins import load_plugins

    folder = new(kind, name, parent, load_plugins())
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        click.echo(path)
    steps = (f"pip install -e {folder}", f"unlearnbench check {name}", _TRY[kind].format(name=name))
    click.echo("\n".join(("next:", *(f"  {step}" for step in steps))), err=True)
