"""`unlearnbench list`, `show` and `plugins`: what is installed, without importing anything heavy."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unlearnbench.discovery import one_line
from unlearnbench.errors import ExitCode, UserError
from unlearnbench.plugins import KINDS, Entry, PluginRecord, Plugins, load_plugins, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from unlearnbench.api import ConceptDataset, DatasetSpec, Params


def _echo_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, default=str))


def _table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns; the last column wraps on a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table.grid(padding=(0, 2))
    for number in range(len(rows[0]) if rows else 0):
        table.add_column(no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style="bold" if n == 0 else "") for n, cell in enumerate(row)))
    console.print(table)


@click.command("list")
@click.argument("kind", type=click.Choice([*KINDS, "concepts"]))
@click.option("--dataset", metavar="NAME", help="For concepts: only those of this data set.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(kind: str, dataset: str | None, as_json: bool) -> None:
    """List what is installed."""
    plugins = load_plugins()
    if kind == "concepts":
        sources = [plugins.datasets.get(dataset)] if dataset else list(plugins.datasets)
        rows = [
            {"name": c.id, "dataset": name, "kind": c.kind, "summary": f"{c.display} -> {c.target.display}"}
            for name, read in _read(sources, alone=dataset is not None)
            for c in read.concepts.values()
        ]
        columns = ("name", "kind", "summary")
    else:
        rows = [_summary(entry) for entry in plugins.registry(kind)]
        columns = ("name", "distribution", "summary")
    if as_json:
        _echo_json(rows)
    elif rows:
        _table([(*(str(row[c]) for c in columns[:2]), _told(row, columns[2])) for row in rows])
    else:
        click.echo(f"no {kind} are installed", err=True)
    for record in plugins.failed():
        place = record.file or record.module
        click.echo(f"{record.distribution} {record.version} ({place}): {record.reason}", err=True)
    if plugins.failed():
        click.echo("Type `unlearnbench plugins --failed` for what can be done.", err=True)


def _told(row: Mapping[str, Any], column: str) -> str:
    text = f"control: {row[column]}" if row.get("control") else str(row[column])
    return f"{text}\n{row['file']}" if row.get("file") else text


def _read(sources: Sequence[Entry[DatasetSpec]], *, alone: bool = False) -> Iterator[tuple[str, ConceptDataset]]:
    """Read data sets; one that cannot be read is told of on stderr, unless it is the only one asked for."""
    for source in sources:
        try:
            dataset: ConceptDataset = source.load()()
            _ = dataset.concepts
        except Exception as error:  # a plugin may raise anything, and hides no other data set
            if alone and isinstance(error, UserError):
                raise
            what = f"data set '{source.spec.name}' of {source.plugin.distribution} cannot be read: {error}"
            if alone:
                raise UserError(what, f"its author corrects {source.spec.target}; -v shows the traceback") from error
            click.echo(one_line(what), err=True)
            continue
        yield source.spec.name, dataset


def _summary(entry: Entry[Any]) -> dict[str, Any]:
    plugin = entry.plugin
    return {
        **{k: v for k, v in dataclasses.asdict(entry.spec).items() if k not in ("target", "params")},
        "distribution": f"{plugin.distribution} {plugin.version}",
        "file": plugin.file,
    }


@click.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(name: str, as_json: bool) -> None:
    """Show one method, evaluator, data set, model, suite or concept, or the header of an edit FILE."""
    if name.endswith(".safetensors"):
        from unlearnbench.board.losses import loss_curves
        from unlearnbench.edits import read_edit
        from unlearnbench.run.stages import plain

        edit = read_edit(Path(name))
        facts = {k: v for k, v in vars(edit).items() if k != "tensors"}
        for part in ("sampling", "verdict"):
            facts[part] = facts[part].model_dump() if facts[part] else None
        request = edit.task["request"]
        curves = loss_curves(edit.report, [c["id"] for c in request["forget"]] if request.get("sequence") else ())
        if curves:
            facts["losses"] = [curve.figures() for curve in curves]
        _echo_json({**plain(facts), "tensors": {k: list(v.shape) for k, v in edit.tensors.items()}})
        return
    plugins = load_plugins()
    facts = _facts(plugins, name)
    if as_json:
        _echo_json(facts)
        return
    parameters = facts.pop("parameters", None)
    _table([(key, value if isinstance(value, str) else json.dumps(value, default=str)) for key, value in facts.items()])
    if parameters is not None:
        click.echo("\nparameters (-p NAME=VALUE)")
        _table([(p["name"], f"{p['type']}  [default: {p['default']}]\n{p['description']}") for p in parameters])


def _facts(plugins: Plugins, name: str) -> dict[str, Any]:
    """Return what is known of a name, looked up in every registry."""
    prefix, slash, rest = name.partition("/")
    kinds = [k for k in KINDS if k.removesuffix("s") == prefix or k == prefix] if slash else []
    wanted = rest if kinds else name
    for kind in kinds or KINDS:
        try:
            entry = plugins.registry(kind).get(wanted)
        except UserError:
            if any(e.spec.name == wanted for e in plugins.registry(kind)):
                raise  # two plugins claim it: say so
            continue
        facts = {"name": entry.spec.name, "kind": kind.removesuffix("s"), **_summary(entry)}
        if kind in ("methods", "evaluators", "set_evaluators"):
            facts["parameters"] = parameters(entry.load_params())
        if kind == "suites":
            from unlearnbench.suites import read_suite

            facts["suite"] = read_suite(entry.spec.path).model_dump(mode="json")
        if kind == "datasets":
            ((_, dataset),) = _read([entry], alone=True)
            facts["concepts"] = list(dataset.concepts)
        if kind == "models":
            facts["folder"] = str(entry.load()())
        return facts
    for source, read in _read(list(plugins.datasets)):
        if wanted in read.concepts:
            return {"name": wanted, "dataset": source, **read.concepts[wanted].model_dump(mode="json")}
    known = {e.spec.name for kind in KINDS for e in plugins.registry(kind)}
    raise unknown("name", name, known)


def parameters(params_type: type[Params]) -> list[dict[str, str]]:
    """Describe every parameter of a plugin: name, type with its bounds, default, description."""
    schema = params_type.model_json_schema()
    rows = []
    for name, field in params_type.model_fields.items():
        about = schema["properties"][name]
        default = (
            "required" if field.is_required() else json.dumps(field.get_default(call_default_factory=True), default=str)
        )
        rows.append({"name": name, "type": _type(about), "default": default, "description": field.description or ""})
    return rows


def _type(about: dict[str, Any]) -> str:
    """Write a JSON schema type in a few characters: 'integer, 1 to 10'."""
    if "anyOf" in about:
        return " or ".join(_type(part) for part in about["anyOf"])
    if "enum" in about:
        return " | ".join(str(v) for v in about["enum"])
    text = str(about.get("type", about.get("const", "value")))
    if text == "array":
        text = f"list of {_type(about.get('items', {}))}"
    bounds = [
        f"{sign} {about[key]:g}"
        for key, sign in (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
        if key in about
    ]
    return ", ".join([text, *bounds])


@click.command("plugins")
@click.option("--failed", is_flag=True, help="Only those that could not be loaded; exit 1 if there are any.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins_command(failed: bool, as_json: bool) -> int:
    """List the installed plugins: what each provides, or why it does not, and where it is."""
    plugins = load_plugins()
    broken = plugins.failed()
    shown = broken if failed else [*plugins.records, *(r for r in broken if r not in plugins.records)]
    if as_json:
        _echo_json([dataclasses.asdict(record) for record in shown])
    elif shown:
        _table([(r.name, f"{r.distribution} {r.version}", r.status, _account(r)) for r in shown])
    else:
        click.echo("every plugin loads" if failed else "no plugins are installed", err=True)
    return ExitCode.FAILED if failed and broken else ExitCode.OK


def _account(record: PluginRecord) -> str:
    """Say in lines what a plugin provides, what is wrong, what can be done, and where it is."""
    lines = (", ".join(record.provides), record.reason, record.hint, record.file or record.module)
    return "\n".join(line for line in lines if line)
