"""`unlearnbench leaderboard`: the board of what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from unlearnbench.cli.options import FORMATS, open_store, store_option
from unlearnbench.errors import PrerequisiteError
from unlearnbench.identity import short
from unlearnbench.publish import Results, StoredRetained, stored_results
from unlearnbench.spec import Column
from unlearnbench.store import Store, replace_text
from unlearnbench.suites import DEFAULT_SUITE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from unlearnbench.board import Board

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
        others = "; ".join(f"{short(p.protocol)} forgets {', '.join(p.suite.forget)}" for p in found[1:4])
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
    from unlearnbench.render import render

    scores = results.scores()
    board = make(results, scores, tables)
    shown, curves = [], []
    if form == "html":
        from unlearnbench.gallery import pictures
        from unlearnbench.losses import stored_losses

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


def _of_retained(retain: StoredRetained) -> list[str]:
    """Tell if concepts that are not forgotten are sampled less than the others."""
    parts = [] if retain.seed is None else [f"sampling seed {retain.seed} alone"]
    if len(retain.prompts) == 1:
        parts.append(f"{retain.prompts[0]} prompts alone")
    return [f"Retained concepts: {' and '.join(parts)}."] if parts else []


def make(results: Results, scores: pd.DataFrame, tables: Sequence[str] = ()) -> Board:
    """Return the board of one protocol.

    Args:
        results: where the scores are from.
        scores: its scores table.
        tables: names of published tables to stand beside it.

    Raises:
        UserError: there is no such published table, or the scores make no board.
    """
    from unlearnbench.board import Identified, make_board
    from unlearnbench.cells import OF_SETS
    from unlearnbench.plugins import load_plugins
    from unlearnbench.published import table
    from unlearnbench.results import CAPTION_METRICS, CONTROL

    suite, fields = results.suite, results.fields
    model = Identified(id=suite.model.id, fingerprint=fields["model"])
    sampler, judge = fields["sampler"], fields["judge"]
    seeds = ", ".join(str(seed) for seed in suite.seeds)
    settings = ", ".join(f"{name} {value}" for name, value in sorted(judge["params"].items()))
    sampled = f"{sampler['scheduler']}, {sampler['steps']} steps, guidance scale {sampler['guidance']:g}"
    plural = "s" if len(suite.seeds) > 1 else ""
    notes = [
        f"Sampler: {sampled}, sampling seed{plural} {seeds}.",
        *_of_retained(suite.retain),
        f"Judge: {judge['name']} ({settings}).",
    ]
    presets = {}
    for method, preset in sorted(suite.presets.items()):
        if (scores["plugin"] == method).any():
            presets[method] = ", ".join(f"{name} {value}" for name, value in sorted(preset.items()))
            notes.append(f"The suite sets for {method}: {presets[method]}.")
    comparer = fields.get("set_evaluator")
    if comparer:
        values = ", ".join(f"{name} {value}" for name, value in sorted(comparer["params"].items()))
        notes.insert(2, f"Set evaluator: {comparer['name']} ({values}).")
    captions = fields.get("captions")
    if captions:
        notes.insert(3, f"Captions: {captions['images']} of {captions['display']}, sampling seed {captions['seed']}.")
    families = scores.loc[scores["family"] != CONTROL, ["method", "family"]].drop_duplicates()
    provenance = {
        "suite": f"{suite.name}, version {suite.version}",
        "data set": suite.dataset,
        "sampler": sampled,
        "sampling seeds": seeds,
        "weights kept in": str(fields["dtype"]),
        "judge's package": f"{judge['origin']['distribution']} {judge['origin']['version']}",
        "judge's settings": settings,
        **({"set evaluator's settings": values} if comparer else {}),
        **{f"{row.method}'s package": str(row.family) for row in families.itertuples()},
        **{f"{method}'s settings": f"{values} (of the suite)" for method, values in presets.items()},
    }
    known: tuple[Column, ...] = get_args(Column)  # another version may know others
    columns = [column for column in known if column in suite.columns]
    columns.sort(key=suite.columns.index)
    if comparer and not set(columns) & OF_SETS:  # it was asked for on the command line
        columns += [column for column in known if column in OF_SETS and _holds(scores, column)]
    if captions and not set(columns) & set(CAPTION_METRICS):
        columns += [column for column in known if column in CAPTION_METRICS and _holds(scores, column)]
    ranks = [column for column in known if column == suite.rank_by]
    return make_board(
        scores,
        title=suite.title,
        columns=columns or ["harmonic_mean"],
        model=model,
        rank_by=ranks[0] if ranks else "harmonic_mean",
        notes=notes,
        controls={e.spec.name: e.spec.summary for e in load_plugins().methods if e.spec.control},
        provenance=provenance,
        published=[table(name) for name in tables],
    )


def _holds(scores: pd.DataFrame, column: Column) -> bool:
    """Return whether a set evaluator gave values for a column."""
    return bool(scores[column.removesuffix("_forgotten")].notna().any())
