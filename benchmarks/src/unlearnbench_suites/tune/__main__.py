"""Try the settings of a method on the development concepts, and write what was found.

Settings run as rows of the suite, with the same prompts and initial noise, and are stored as every run's are: what was
interrupted goes on where it was, and `unlearnbench leaderboard` shows the rows too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unlearnbench.cli.options import open_store, store_option
from unlearnbench.cli.progress import reporter
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.plugins import load_plugins, unknown
from unlearnbench.run.cost import describe
from unlearnbench.run.session import Session
from unlearnbench_suites.tune.report import markdown
from unlearnbench_suites.tune.settings import SETTINGS, read_tuning
from unlearnbench_suites.tune.trials import plan_trials, run_trials

if TYPE_CHECKING:
    from collections.abc import Sequence

OUT = Path("benchmarks/results/tuning")


@click.command("python -m unlearnbench_suites.tune")
@click.argument("methods", nargs=-1, required=True, metavar="METHOD...")
@click.option(
    "--settings", type=click.Path(path_type=Path, dir_okay=False), default=SETTINGS, metavar="FILE",
    help="What is tried.  [default: settings.toml of this package]",
)  # fmt: skip
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, file_okay=False), default=OUT, show_default=True, metavar="DIR",
    help="Where METHOD.json and METHOD.md are written.",
)  # fmt: skip
@click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1; auto takes a GPU if there is one."
)
@store_option
@click.option("--dry-run", is_flag=True, help="Print what would be made, and make nothing.")
def tune_command(
    methods: Sequence[str], settings: Path, out: Path, device: str, store_root: Path | None, dry_run: bool
) -> None:
    """Compare the settings of each METHOD, and write a table that says which one is chosen."""
    tuning = read_tuning(settings)
    for method in methods:
        if method not in tuning.settings:
            raise unknown(f"method in {settings.name}", method, tuning.settings)
    session = Session.open(load_plugins(), tuning.suite)
    plans = {method: plan_trials(session, tuning, method) for method in dict.fromkeys(methods)}
    store = open_store(store_root)
    without = []
    for method, plan in plans.items():
        if dry_run:
            click.echo(describe(plan, store))
            continue
        report = run_trials(session, tuning, method, plan, store, device=device, reporter=reporter())
        page = markdown(report)
        _write(out, method, report.model_dump_json(indent=1) + "\n", page)
        click.echo(page)
        without += [method] if report.chosen is None else []
    if without:
        raise click.ClickException(f"no setting of {', '.join(without)} can be chosen")


def _write(out: Path, method: str, data: str, page: str) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{method}.json").write_text(data, encoding="utf-8")
        (out / f"{method}.md").write_text(page, encoding="utf-8")
    except OSError as error:
        raise PrerequisiteError(f"cannot write to {out}: {error.strerror}", "name another folder with --out") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit; every mistake of a user is two lines on stderr."""
    try:
        tune_command.main(arguments, prog_name=tune_command.name)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(int(error.exit_code))


if __name__ == "__main__":
    main()
