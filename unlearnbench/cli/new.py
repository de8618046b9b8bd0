"""`unlearnbench new`: a plugin package or a concept file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import click

from unlearnbench.api import ConceptKind
from unlearnbench.errors import UserError
from unlearnbench.scaffold import KINDS, new, new_concept

if TYPE_CHECKING:
    from unlearnbench.scaffold import Kind

_TRY = {
    "method": "unlearnbench run --method {name}",
    "evaluator": "unlearnbench run --evaluator {name}",
    "dataset": "unlearnbench run {name}-quick",
}


@click.command("new")
@click.argument("kind", type=click.Choice([*KINDS, "concept"]))
@click.argument("name")
@click.option(
    "--path",
    "parent",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where the folder unlearnbench-NAME or the concept file goes.  [default: here]",
)
@click.option("--kind", "concept_kind", type=click.Choice(get_args(ConceptKind)), help="Of a concept.")
@click.option("--anchor", metavar="WORDS", help="What takes the place of a concept.")
def new_command(kind: str, name: str, parent: Path, concept_kind: ConceptKind | None, anchor: str | None) -> None:
    """Write a plugin package that works, to replace part by part, or the file of a concept of your own.

    A package installs, is listed, runs on the embedded model, and passes `unlearnbench check`. A concept file holds
    prompts in many contexts, and is what `run --concept-file` takes.
    """
    if kind == "concept":
        _concept(name, concept_kind, anchor, parent)
        return
    if concept_kind or anchor:
        raise UserError("--kind and --anchor belong to a concept", "type `unlearnbench new concept NAME`")
    from unlearnbench.plugins import load_plugins

    folder = new(cast("Kind", kind), name, parent, load_plugins())
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        click.echo(path)
    _next(f"pip install -e {folder}", f"unlearnbench check {name}", _TRY[kind].format(name=name))


def _concept(name: str, kind: ConceptKind | None, anchor: str | None, parent: Path) -> None:
    if kind is None or anchor is None:
        missing = "--kind" if kind is None else "--anchor"
        raise UserError(
            f"a concept needs {missing}", "type for example --kind object --anchor 'a goldfish' for 'a tabby cat'"
        )
    path = new_concept(name, kind, anchor, parent)
    click.echo(path)
    _next(
        f"fill in indirect prompts and neighbours in {path}",
        f"unlearnbench lint {path}",
        f"unlearnbench run --concept-file {path} --model DIR --method uce",
    )


def _next(*steps: str) -> None:
    click.echo("\n".join(("next:", *(f"  {step}" for step in steps))), err=True)
