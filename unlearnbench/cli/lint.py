"""`unlearnbench lint`: do the prompts of a data set, a suite or a concept file mean what a board says they mean?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unlearnbench.errors import ExitCode, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unlearnbench.lint import Report, Tokens
    from unlearnbench.plugins import Plugins
    from unlearnbench.spec import Suite

FORMAT = "unlearnbench-lint/1"


@click.command("lint")
@click.argument("names", metavar="SUITE|DATASET|FILE...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every suite and every data set that is installed.")
@click.option("--model", metavar="DIR", help="Count tokens with the tokenizer of this shipped model or folder.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def lint_command(names: tuple[str, ...], everything: bool, model: str | None, as_json: bool) -> int:
    """Look for prompts that leak, prompts that say too much or too little, and references that lead nowhere.

    What is named is a suite (with its data set), a data set, a suite file (.toml), a concept file (.yaml), or a folder
    of concept files.
    """
    from unlearnbench.plugins import load_plugins

    plugins = load_plugins()
    if everything:
        suites, datasets = (list(dict.fromkeys(e.spec.name for e in r)) for r in (plugins.suites, plugins.datasets))
        names = (*names, *datasets, *(name for name in suites if name not in datasets))
    if not names:
        raise UserError("nothing to lint is named", "type `unlearnbench lint SUITE`, or --all")
    reports = {(r.kind, r.name): r for name in names for r in lint_name(plugins, name, model)}
    if as_json:
        from importlib.metadata import version

        content = {
            "format": FORMAT,
            "version": version("unlearnbench"),
            "ok": all(r.ok for r in reports.values()),
            "reports": [{"ok": r.ok, **r.model_dump(mode="json")} for r in reports.values()],
        }
        click.echo(json.dumps(content, indent=1))
    else:
        for report in reports.values():
            show(report)
    return ExitCode.OK if all(r.ok for r in reports.values()) else ExitCode.CONFORMANCE


def lint_name(plugins: Plugins, name: str, model: str | None) -> Iterator[Report]:
    """Yield the reports of everything that a name means.

    Raises:
        UserError: it means nothing, or its file is wrong.
    """
    from unlearnbench.concepts import SUFFIXES, ConceptFolder, read_concept
    from unlearnbench.lint import lint_dataset
    from unlearnbench.plugins import unknown
    from unlearnbench.suites import load_suite

    path = Path(name)
    if path.suffix in SUFFIXES:
        concept = read_concept(path)
        yield lint_dataset("file", name, {concept.id: concept}, tokenizer(plugins, model))
        return
    plain = name.rpartition("/")[2]
    suites = path.suffix == ".toml" or any(e.spec.name == plain for e in plugins.suites)
    datasets = any(e.spec.name == plain for e in plugins.datasets)
    if suites:
        yield from _suite(plugins, load_suite(plugins, name), model)
    elif datasets:
        yield lint_dataset("dataset", name, plugins.datasets.get(name).load()().concepts, tokenizer(plugins, model))
    elif path.is_dir():
        yield lint_dataset("dataset", name, ConceptFolder(path).concepts, tokenizer(plugins, model))
    else:
        known = {e.spec.name for registry in (plugins.suites, plugins.datasets) for e in registry}
        raise unknown("suite or data set", name, known, "unlearnbench list suites")


def show(report: Report) -> None:
    """Print a report: its findings by rule, then what was looked at."""
    kind = {"dataset": "data set", "suite": "suite", "file": "concept file"}[report.kind]
    for found in report.findings:
        colour = "red" if found.severity == "error" else "yellow"
        click.echo(f"{click.style(found.severity, fg=colour)} {found.rule}: {found.message}")
    errors, warnings = len(report.errors), len(report.findings) - len(report.errors)
    sums = ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for n, word in ((errors, "error"), (warnings, "warning")) if n)
    looked = f"{report.concepts} concept{'s' if report.concepts != 1 else ''}"
    looked += f", {report.prompts} prompts, tokens {report.tokens}" if report.tokens else ""
    click.echo(f"{kind} {report.name}: {sums or 'clean'} ({looked})")


def _suite(plugins: Plugins, suite: Suite, model: str | None) -> Iterator[Report]:
    from unlearnbench.lint import lint_dataset, lint_suite

    dataset = plugins.datasets.get(suite.dataset).load()()
    yield lint_dataset("dataset", suite.dataset, dataset.concepts, tokenizer(plugins, model or suite.model.id))
    yield lint_suite(suite, dataset, plugins)


def tokenizer(plugins: Plugins, model: str | None) -> Tokens:
    """Return what counts tokens: the tokenizer of a model that is on this machine, else the estimate."""
    from unlearnbench.lint import estimated, tokens_of

    shipped = plugins.shipped_models()
    folder = None if model is None else shipped[model] if model in shipped else Path(model)
    return tokens_of(folder) if folder is not None and (folder / "tokenizer").is_dir() else estimated()
