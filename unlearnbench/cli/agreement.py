"""`unlearnbench agreement`: how far judges agree on the images of a run that several of them have scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unlearnbench.cli.leaderboard import write
from unlearnbench.cli.options import open_store, store_option
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.identity import digest, short
from unlearnbench.results.publish import PROTOCOL, stored_results
from unlearnbench.suites import DEFAULT_SUITE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from unlearnbench.store import Store

FORMATS = ("rich", "md", "json")
IMAGE = ("sample_key", "concept", "prompt_id", "seed")


@click.command("agreement")
@click.argument("sources", nargs=-1, metavar="[SUITE|SCORES...]")
@click.option("-f", "--format", "form", type=click.Choice(FORMATS), default="rich", show_default=True, help="Form.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE.")
@store_option
def agreement_command(sources: tuple[str, ...], form: str, output: Path | None, store_root: Path | None) -> None:
    """Compare the answers of judges to the same images.

    Run a SUITE with each --evaluator: the images are made once. SCORES are parquet files, or folders of them.
    """
    from unlearnbench.calibration.agreement import pairwise

    tables = judged(sources or (DEFAULT_SUITE,), open_store(store_root))
    found = pairwise(tables, IMAGE, ["method", "concept"])
    if not any(one.n or one.unscored for one in found):
        raise PrerequisiteError(
            f"the judges {', '.join(tables)} have scored no image in common",
            "run the same suite, methods and seeds with each --evaluator",
        )
    if form == "json":
        write(json.dumps([one.model_dump() for one in found], indent=1) + "\n", output)
        return
    from unlearnbench.cli.calibrate import show_tables
    from unlearnbench.render.calibration import agreement_sections

    show_tables("agreement between judges", agreement_sections(found, whole=True), form, output)


def judged(sources: tuple[str, ...], store: Store) -> dict[str, pd.DataFrame]:
    """Return the answers of each judge: `IMAGE`, `method` and `label` (1, 0 or NaN).

    One judge with other weights or parameters is another judge; then a digest of these follows its name.

    Args:
        sources: names of suites with stored scores, parquet files, or folders of them.
        store: where the scores of suites are looked up.

    Raises:
        PrerequisiteError: there are scores of fewer than two judges.
        UserError: a source is nothing of the kind.
    """
    import pandas as pd

    from unlearnbench.results.table import read_scores

    parts: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for folder, files in _files(sources, store):
        scores, params = read_scores(files), _params(folder)
        for (judge, fingerprint), own in scores.groupby(["judge", "judge_fingerprint"]):
            table = own[[*IMAGE, "method", "label"]].astype({"label": "Float64"}).astype({"label": float})
            parts.setdefault((str(judge), digest([str(fingerprint), params])), []).append(table)
    names = [judge for judge, _ in parts]
    tables = {
        judge if names.count(judge) == 1 else f"{judge}@{short(key)[:6]}": pd.concat(own).drop_duplicates(
            [*IMAGE, "method"]
        )
        for (judge, key), own in parts.items()
    }
    if len(tables) < 2:
        raise PrerequisiteError(
            f"there are scores of {'one judge' if tables else 'no judge'}: {', '.join(sources)}",
            "run the suite once with each judge: --evaluator NAME",
        )
    return tables


def _params(folder: Path) -> Any:
    """Return the parameters of the judge, as what the tables of a folder share tells them; None = it is not there."""
    try:
        return json.loads((folder / PROTOCOL).read_text(encoding="utf-8"))["fields"]["judge"]["params"]
    except (OSError, ValueError, KeyError):
        return None


def _files(sources: tuple[str, ...], store: Store) -> Iterator[tuple[Path, list[Path]]]:
    """Yield the folders of the sources, each with its score tables."""
    for source in sources:
        path = Path(source)
        if path.suffix == ".parquet" or path.is_dir():
            folder = path if path.is_dir() else path.parent
            files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
            if not files or not files[0].exists():
                raise UserError(f"there are no scores at {path}", "name a parquet file of scores, or a folder of them")
            yield folder, files
            continue
        results = stored_results(store, source)
        if not results:
            from unlearnbench.plugins import load_plugins

            load_plugins().suites.get(source)  # an unknown suite is a mistake of its own
            raise PrerequisiteError(
                f"no scores of suite '{source}' in {store.root}",
                f"type `unlearnbench run {source} --method NAME` first",
            )
        for one in results:
            yield one.folder, sorted(one.folder.glob("*.parquet"))
