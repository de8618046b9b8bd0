"""The board of results that were stored: the scores, and how they were made in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from unlearnbench.board.cells import OF_SETS
from unlearnbench.board.data import Board, Identified
from unlearnbench.board.make import make_board
from unlearnbench.plugins import load_plugins
from unlearnbench.published import table
from unlearnbench.results.table import CAPTION_METRICS, CONTROL
from unlearnbench.spec import Column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from unlearnbench.results.publish import Results, StoredRetained, StoredSuite


def board_of(results: Results, scores: pd.DataFrame, tables: Sequence[str] = ()) -> Board:
    """Return the board of one protocol.

    Args:
        results: where the scores are from.
        scores: its scores table.
        tables: names of published tables to stand beside it.

    Raises:
        UserError: there is no such published table, or the scores make no board.
    """
    suite, fields = results.suite, results.fields
    presets = {
        method: _settings(preset)
        for method, preset in sorted(suite.presets.items())
        if (scores["plugin"] == method).any()
    }
    ranks = [column for column in get_args(Column) if column == suite.rank_by]  # another version may know others
    return make_board(
        scores,
        title=suite.title,
        columns=_columns(suite, fields, scores) or ["harmonic_mean"],
        model=Identified(id=suite.model.id, fingerprint=fields["model"]),
        rank_by=ranks[0] if ranks else "harmonic_mean",
        notes=_notes(suite, fields, presets),
        controls={e.spec.name: e.spec.summary for e in load_plugins().methods if e.spec.control},
        provenance=_provenance(suite, fields, scores, presets),
        published=[table(name) for name in tables],
    )


def _columns(suite: StoredSuite, fields: Mapping[str, Any], scores: pd.DataFrame) -> list[Column]:
    """Return the suite's columns that this version knows, and those of sets that were asked for with the run."""
    known: tuple[Column, ...] = get_args(Column)
    columns = sorted((column for column in known if column in suite.columns), key=suite.columns.index)
    asked: list[Column] = []
    if fields.get("set_evaluator") and not set(columns) & OF_SETS:
        asked += [column for column in known if column in OF_SETS and _holds(scores, column)]
    if fields.get("captions") and not set(columns) & set(CAPTION_METRICS):
        asked += [column for column in known if column in CAPTION_METRICS and _holds(scores, column)]
    return [*columns, *asked]


def _notes(suite: StoredSuite, fields: Mapping[str, Any], presets: Mapping[str, str]) -> list[str]:
    judge, comparer, captions = fields["judge"], fields.get("set_evaluator"), fields.get("captions")
    plural = "s" if len(suite.seeds) > 1 else ""
    notes = [f"Sampler: {_sampled(fields)}, sampling seed{plural} {_seeds(suite)}.", *_of_retained(suite.retain)]
    if comparer:
        notes.append(f"Set evaluator: {comparer['name']} ({_settings(comparer['params'])}).")
    if captions:
        notes.append(f"Captions: {captions['images']} of {captions['display']}, sampling seed {captions['seed']}.")
    notes.append(f"Judge: {judge['name']} ({_settings(judge['params'])}).")
    return notes + [f"The suite sets for {method}: {preset}." for method, preset in presets.items()]


def _of_retained(retain: StoredRetained) -> list[str]:
    """Tell if concepts that are not forgotten are sampled less than the others."""
    parts = [] if retain.seed is None else [f"sampling seed {retain.seed} alone"]
    if len(retain.prompts) == 1:
        parts.append(f"{retain.prompts[0]} prompts alone")
    return [f"Retained concepts: {' and '.join(parts)}."] if parts else []


def _provenance(
    suite: StoredSuite, fields: Mapping[str, Any], scores: pd.DataFrame, presets: Mapping[str, str]
) -> dict[str, str]:
    judge, comparer = fields["judge"], fields.get("set_evaluator")
    families = scores.loc[scores["family"] != CONTROL, ["method", "family"]].drop_duplicates()
    return {
        "suite": f"{suite.name}, version {suite.version}",
        "data set": suite.dataset,
        "sampler": _sampled(fields),
        "sampling seeds": _seeds(suite),
        "weights kept in": str(fields["dtype"]),
        "judge's package": f"{judge['origin']['distribution']} {judge['origin']['version']}",
        "judge's settings": _settings(judge["params"]),
        **({"set evaluator's settings": _settings(comparer["params"])} if comparer else {}),
        **{f"{row.method}'s package": str(row.family) for row in families.itertuples()},
        **{f"{method}'s settings": f"{values} (of the suite)" for method, values in presets.items()},
    }


def _settings(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(params.items()))


def _sampled(fields: Mapping[str, Any]) -> str:
    sampler = fields["sampler"]
    return f"{sampler['scheduler']}, {sampler['steps']} steps, guidance scale {sampler['guidance']:g}"


def _seeds(suite: StoredSuite) -> str:
    return ", ".join(str(seed) for seed in suite.seeds)


def _holds(scores: pd.DataFrame, column: Column) -> bool:
    """Return whether a set evaluator gave values for a column."""
    return bool(scores[column.removesuffix("_forgotten")].notna().any())
