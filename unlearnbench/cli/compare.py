"""`unlearnbench compare`: two rows of a board side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unlearnbench.cli.leaderboard import find, write
from unlearnbench.cli.options import open_store, store_option
from unlearnbench.suites import DEFAULT_SUITE

if TYPE_CHECKING:
    import pandas as pd

    from unlearnbench.board.comparison import Difference

FORMATS = ("rich", "md", "json")
DRAWS = 2000


@click.command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.argument("suite", default=DEFAULT_SUITE)
@click.option(
    "--protocol", metavar="DIGEST", help="First digits of a protocol digest.  [default: the one that ran last]"
)
@click.option("-f", "--format", "form", type=click.Choice(FORMATS), default="rich", show_default=True, help="Form.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE.")
@store_option
def compare_command(
    first: str, second: str, suite: str, protocol: str | None, form: str, output: Path | None, store_root: Path | None
) -> None:
    """Compare the rows A and B of SUITE's board: A minus B, concept by concept."""
    results = find(open_store(store_root), suite, protocol)
    found = compared(results.scores(), first, second)
    if form == "json":
        write(json.dumps([one.model_dump() for one in found], indent=2) + "\n", output)
        return
    from unlearnbench.render import grids
    from unlearnbench.render.markdown import markdown_table

    grid = grids.difference_grid(found)
    if form == "md":
        write("\n".join([*markdown_table(grid), "", *(f"- {line}" for line in _notes(found))]) + "\n", output)
        return
    from rich.console import Console

    from unlearnbench.render import as_text
    from unlearnbench.render.rich import GridView

    view = GridView(grid, _notes(found))
    if output is None:
        Console().print(view)
    else:
        write(as_text(view), output)


def compared(scores: pd.DataFrame, first: str, second: str) -> list[Difference]:
    """Return the differences of two rows in every column that both have a value in.

    Args:
        scores: scores table of one protocol and judge.
        first: label of a row.
        second: label of another.

    Raises:
        UserError: there is no such row, or the scores are those of several judges.
    """
    from unlearnbench.board.comparison import difference
    from unlearnbench.board.make import one_protocol, only_judge
    from unlearnbench.board.measures import COMPOSITES, Measures
    from unlearnbench.plugins import unknown
    from unlearnbench.stats.intervals import LEVEL

    scores, _ = only_judge(one_protocol(scores), None)
    rows = sorted(str(method) for method in scores["method"].unique())
    for name in (first, second):
        if name not in rows:
            raise unknown("row", name, rows)
    # All rows enter, so that the draws and the controls are those of the board.
    measures = Measures(scores, DRAWS, LEVEL)
    found = [difference(measures, first, second, column) for column in (*measures.concepts, *COMPOSITES)]
    return [one for one in found if one.value is not None]


def _notes(found: list[Difference]) -> list[str]:
    from unlearnbench.board.cells import SMALL

    first, second = found[0].first, found[0].second
    notes = [
        f"difference: {first} - {second}, with the 95 % interval of the paired difference; one concept gives none",
        f"win/tie/loss: forgotten concepts on which {first} is better, equal, worse",
    ]
    if any(one.p is not None for one in found):
        notes.append("p: Wilcoxon's signed-rank test over concepts, each column by itself and not corrected")
    else:
        notes.append(f"p: n/a, as a test takes at least {SMALL} forgotten concepts")
    return notes
