"""`unlearnbench calibrate`: how often judges are wrong, on images of known content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unlearnbench.cli.leaderboard import write
from unlearnbench.cli.options import device_option, open_store, params_option, parse_params, store_option
from unlearnbench.errors import ExitCode
from unlearnbench.suites import DEFAULT_SUITE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.render.grids import Grid

FORMATS = ("rich", "md", "json", "html")


@click.command("calibrate")
@click.argument("suite", default=DEFAULT_SUITE)
@click.option(
    "--evaluator", "evaluators", multiple=True, metavar="NAME",
    help="Judge; given again, the judges are compared.  [default: the suite's]",
)  # fmt: skip
@click.option("-c", "--concept", "concepts", multiple=True, metavar="NAME", help="Only this concept; again for more.")
@click.option(
    "--images", "folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Images of known content, DIR/CONCEPT/*.png.  [default: those of the data set]",
)  # fmt: skip
@click.option(
    "--most", type=click.IntRange(1, 100_000), default=200, show_default=True,
    help="Images of each concept that show it, and as many that do not, at most.",
)  # fmt: skip
@click.option(
    "--part", type=click.Choice(["all", "1", "2"]), default="all", show_default=True,
    help="One half of the images: choose thresholds on one, and measure them on the other.",
)  # fmt: skip
@click.option(
    "--thresholds", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Write the best threshold of each concept, for -p JUDGE.thresholds=FILE.",
)  # fmt: skip
@params_option
@device_option
@click.option("-f", "--format", "form", type=click.Choice(FORMATS), default="rich", show_default=True, help="Form.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE.")
@store_option
def calibrate_command(
    suite: str, evaluators: tuple[str, ...], concepts: tuple[str, ...], folder: Path | None, most: int, part: Any,
    thresholds: Path | None, params: tuple[str, ...], device: str, form: str, output: Path | None,
    store_root: Path | None,
) -> int:  # fmt: skip
    """Measure judges on images whose content is known, for the concepts that SUITE evaluates.

    Answers are stored and not asked for again. If scores of SUITE by a judge are stored, they are corrected for its
    errors. Exits with 1 if a judge raised.
    """
    from unlearnbench.calibration.images import images_of
    from unlearnbench.calibration.report import calibrate
    from unlearnbench.calibration.report import thresholds as best
    from unlearnbench.cli.progress import reporter
    from unlearnbench.errors import UserError
    from unlearnbench.plugins import load_plugins
    from unlearnbench.run.session import find_judge
    from unlearnbench.suites import find_concept, load_suite

    plugins = load_plugins()
    loaded = load_suite(plugins, suite)
    dataset = plugins.datasets.get(loaded.dataset).load()()
    names = tuple(dict.fromkeys(evaluators or (loaded.evaluator.name,)))
    if thresholds is not None and len(names) > 1:
        raise UserError("thresholds are those of one judge", "name one --evaluator with --thresholds")
    given = parse_params(names if len(names) == 1 else (), names, params)
    if concepts:
        chosen = tuple(dict.fromkeys(find_concept(dataset, name).id for name in concepts))
        loaded = loaded.model_copy(update={"evaluate": chosen})
    judges = [
        find_judge(plugins, name, {**(loaded.evaluator.params if name == loaded.evaluator.name else {}), **given[name]})
        for name in names
    ]
    found = calibrate(
        loaded, dataset, judges, images_of(dataset, folder), open_store(store_root), reporter(), device=device,
        source=f"data set {loaded.dataset}" if folder is None else str(folder), most=most, part=part,
    )  # fmt: skip
    if thresholds is not None:
        write(json.dumps(best(found.judges[0]), indent=1, sort_keys=True) + "\n", thresholds)
    if form == "json":
        write(found.model_dump_json(by_alias=True, indent=1) + "\n", output)
    elif form == "html":
        from unlearnbench.render.calibration import to_html

        write(to_html(found), output)
    else:
        from unlearnbench.render.calibration import sections

        show_tables(f"{found.title}: calibration", sections(found, whole=form == "md"), form, output)
    return ExitCode.FAILED if any(judge.failed for judge in found.judges) else ExitCode.OK


def show_tables(title: str, tables: Sequence[tuple[str, Grid, list[str]]], form: str, output: Path | None) -> None:
    """Print tables with headings and notes on a terminal or as markdown, or write them to a file."""
    if form == "md":
        from unlearnbench.render.calibration import to_markdown

        write(to_markdown(title, tables), output)
        return
    from rich.console import Console, Group
    from rich.text import Text

    from unlearnbench.render import as_text
    from unlearnbench.render.rich import GridView

    parts: list[Any] = [Text(title, style="bold")]
    for heading, grid, notes in tables:
        parts += [Text(f"\n{heading}\n", style="dim"), GridView(grid, notes)]
    if output is None:
        Console().print(Group(*parts))
    else:
        write(as_text(Group(*parts)), output)
