"""`unlearnbench check`: does a method, an evaluator or a data set keep its promises?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unlearnbench.cli.options import parse_params
from unlearnbench.errors import ExitCode, PrerequisiteError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from unlearnbench.checks import Report, Result

STYLES = {"passed": "green", "failed": "bold red", "xpass": "bold red", "xfail": "yellow", "skipped": "dim"}
FORMATS = (".json", ".md")


@click.command("check")
@click.argument("name", metavar="NAME|PATH")
@click.option("-p", "--param", "params", multiple=True, metavar="K=V", help="Set a parameter, such as fewer steps.")
@click.option(
    "-x", "--expect-failure", "expected", multiple=True, metavar="CHECK=REASON",
    help="A check that fails for a known reason; it is an error if it passes.",
)  # fmt: skip
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Write the results to this .json or .md file.",
)  # fmt: skip
def check_command(name: str, params: tuple[str, ...], expected: tuple[str, ...], report: Path | None) -> int:
    """Check a method, an evaluator or a data set.

    NAME is what is installed, PATH the folder of a package that need not be. Methods edit small random models, with the
    parameters that they call quick unless -p gives others.
    """
    from rich.console import Console

    from unlearnbench.checks import checks_for, run_checks, subjects
    from unlearnbench.checks.report import summary
    from unlearnbench.checks.run import check_expected

    reasons = parse_expected(expected)
    if report is not None:
        _check_writable(report)
    console = Console(highlight=False)
    done: list[Report] = []
    with subjects(name, parse_params([name], [], params)[name]) as found:
        checks = {subject.kind: checks_for(subject.kind) for subject in found}
        check_expected([check for group in checks.values() for check in group], reasons)
        for subject in found:
            plugin = subject.entry.plugin
            title = f"{subject.kind} {subject.entry.spec.name}"
            console.print(f"{title}  {plugin.distribution} {plugin.version}", style="bold", markup=False)
            if subject.given:
                given = ", ".join(f"{name}={value}" for name, value in subject.given.items())
                console.print(f"  with {given}", style="dim", markup=False)
            own = {check.name for check in checks[subject.kind]}
            done.append(
                run_checks(
                    checks[subject.kind],
                    subject,
                    {check: reason for check, reason in reasons.items() if check in own},
                    on_result=lambda result: show(console, result),
                )
            )
            style = "bold green" if done[-1].ok else "bold red"
            console.print(f"{title} {summary(done[-1])}", style=style, markup=False)
    if report is not None:
        write_report(report, done)
    return ExitCode.OK if all(one.ok for one in done) else ExitCode.CONFORMANCE


def parse_expected(given: Sequence[str]) -> dict[str, str]:
    """Read CHECK=REASON.

    Raises:
        UserError: there is no reason.
    """
    reasons: dict[str, str] = {}
    for option in given:
        check, _, reason = option.partition("=")
        if not check or not reason.strip():
            raise UserError(
                f"-x {option} is not of the form CHECK=REASON",
                "type for example -x check_several_concepts='one concept at a time, section 4 of the paper'",
            )
        reasons[check.strip()] = reason.strip()
    return reasons


def show(console: Console, result: Result) -> None:
    """Print one result: a line, and below it the reason."""
    from rich.padding import Padding
    from rich.text import Text

    line = Text.assemble(
        "  ",
        (f"{result.status:<8}", STYLES[result.status]),
        f"{result.name:<45}",
        (f"{result.seconds:8.1f} s", "dim"),
    )
    console.print(line, soft_wrap=True)
    if result.reason:
        console.print(Padding(Text(result.reason, overflow="fold"), (0, 0, 0, 10)))


def write_report(path: Path, reports: Sequence[Report]) -> None:
    """Write all results as JSON or markdown, in one step."""
    from unlearnbench.checks.report import to_json, to_markdown

    text = to_markdown(reports) if path.suffix == ".md" else json.dumps(to_json(reports), indent=1) + "\n"
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _check_writable(path: Path) -> None:
    if path.suffix not in FORMATS:
        raise UserError(f"--report {path}: a report is .json or .md", f"type --report {path.stem or 'report'}.md")
    if not path.parent.is_dir():
        raise PrerequisiteError(f"cannot write {path}: {path.parent} is no folder", "name another file with --report")
