"""Make the board of a scores table."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np

from unlearnbench.api import ConceptKind, PromptKind
from unlearnbench.board import ranking
from unlearnbench.board.cells import all_cells, concept_cells
from unlearnbench.board.columns import COLUMNS
from unlearnbench.board.data import Board, ConceptRow, Failure, Identified, Matrix, Role, Row, Slice, Unsound
from unlearnbench.board.measures import Measures
from unlearnbench.board.notes import board_notes
from unlearnbench.errors import UserError
from unlearnbench.results.table import validate
from unlearnbench.stats import intervals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from unlearnbench.board.cells import Cell
    from unlearnbench.published import PublishedTable
    from unlearnbench.spec import Column


def make_board(
    scores: pd.DataFrame,
    *,
    title: str,
    columns: Sequence[Column],
    model: Identified,
    rank_by: Column = "harmonic_mean",
    judge: str | None = None,
    notes: Sequence[str] = (),
    controls: Mapping[str, str] | None = None,
    provenance: Mapping[str, str] | None = None,
    published: Sequence[PublishedTable] = (),
    draws: int = 2000,
    level: float = intervals.LEVEL,
) -> Board:
    """Return the board of a scores table.

    Args:
        scores: scores table of one suite and protocol.
        title: heading of the board.
        columns: columns to show, in this order; the others are kept where they hold a value.
        model: the base model.
        rank_by: the column that ranks the methods, in its own direction.
        judge: name of the judge whose answers count; needed if the table has several.
        notes: remarks of the caller; they follow those of the board.
        controls: what a control is, in words, by the name of its plugin.
        provenance: how the scores were made, in words.
        published: tables of papers to stand beside the measured rows.
        draws: bootstrap draws; their generator is seeded from the protocol digest.
        level: coverage of the intervals.

    Raises:
        UserError: the table is empty, mixes suites or protocols, or has several judges and `judge` names none of them.
        ValueError: the table is not valid.
    """
    scores, identity = only_judge(one_protocol(validate(scores)), judge)
    measures = Measures(scores, draws, level)
    labels = measures.labels
    cells = {method: all_cells(measures, method, tuple(COLUMNS)) for method in labels.methods}
    order = ranking.rank(measures, {method: own[rank_by] for method, own in cells.items()}, rank_by)
    more = [
        name for name in COLUMNS
        if name not in columns and any(own[name].value is not None for own in cells.values())
    ]  # fmt: skip
    kept = (*columns, *more)
    rows = [
        _row(measures, place, {n: cells[place.method][n] for n in dict.fromkeys([*kept, rank_by, "harmonic_mean"])})
        for place in order.places
    ]
    kinds = dict(zip(scores["concept"], scores["kind"], strict=True))
    return Board(
        title=title,
        suite=str(scores["suite"].iloc[0]),
        protocol=str(scores["protocol"].iloc[0]),
        model=model,
        judge=identity,
        level=level,
        draws=draws,
        forget=labels.forget,
        evaluate=labels.concepts,
        columns=tuple(COLUMNS[name] for name in columns),
        more=tuple(COLUMNS[name] for name in more),
        rank_by=rank_by,
        rows=tuple(rows),
        by_concept=tuple(
            _concept_row(measures, row.method, concept, kinds) for row in rows for concept in labels.forget
        ),
        slices=tuple(_slices(scores, draws, level, kinds)),
        differences=order.differences,
        roles=_roles(measures),
        matrices=tuple(Matrix(method=row.method, shows=_shows(measures, row.method)) for row in rows),
        provenance=dict(provenance or {}),
        published=tuple(published),
        notes=(*board_notes(measures, order, draws, controls or {}), *notes),
    )


def one_protocol(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a scores table unless it is empty or mixes protocols.

    Raises:
        UserError: it does.
    """
    if scores.empty:
        raise UserError("there are no scores to make a board of", "make some with `unlearnbench run`")
    if len(scores[["suite", "protocol"]].drop_duplicates()) > 1:
        raise UserError(
            "the scores come from different protocols, which no board may mix",
            "name the scores of one suite and one run configuration",
        )
    return scores


def only_judge(scores: pd.DataFrame, judge: str | None) -> tuple[pd.DataFrame, Identified]:
    """Return the answers of one judge, and who that is.

    Raises:
        UserError: the table has several judges and none is named, or not the named one, or one with different weights.
    """
    names = sorted(str(name) for name in scores["judge"].unique())
    if judge is None and len(names) > 1:
        raise UserError(f"the scores hold the answers of several judges: {', '.join(names)}", "choose one of them")
    chosen = names[0] if judge is None else judge
    if chosen not in names:
        raise UserError(f"the scores hold no answer of the judge '{chosen}'", f"choose one of: {', '.join(names)}")
    scores = scores[scores["judge"] == chosen]
    fingerprints = sorted({str(f) for f in scores["judge_fingerprint"].unique()} - {""})
    if len(fingerprints) > 1:
        raise UserError(f"the judge '{chosen}' has different weights in different runs", "name the scores of one run")
    return scores, Identified(id=chosen, fingerprint="".join(fingerprints))


def _row(measures: Measures, place: ranking.Place, cells: dict[Column, Cell]) -> Row:
    own = measures.methods[place.method]
    present = {str(concept) for concept in own["forget"].unique()}
    # Each edit that lost images is counted once, under the first reason it has.
    lost = own[own["status"] != "ok"].drop_duplicates(["forget", "method_seed"])
    return Row(
        method=place.method,
        plugin=str(own["plugin"].iloc[0]),
        family=str(own["family"].iloc[0]),
        control=place.method in measures.controls,
        rank=place.rank,
        group=place.group,
        cells=cells,
        edits=len(own[["forget", "method_seed"]].drop_duplicates()),
        failures=tuple(
            Failure(status=status, reason=reason, edits=len(edits), concepts=tuple(sorted(edits["forget"].unique())))
            for (status, reason), edits in lost.groupby(["status", "reason"])
        ),
        unsound=tuple(
            Unsound(
                verdict=word,
                reason=str(edits["verdict_reason"].iloc[0]),
                edits=len(edits),
                concepts=tuple(sorted(edits["forget"].unique())),
            )
            for word, edits in own.drop_duplicates(["forget", "method_seed"]).groupby("verdict")
            if word != "ok"
        ),
        not_run=tuple(concept for concept in measures.labels.forget if concept not in present),
    )


def _concept_row(measures: Measures, method: str, concept: str, kinds: Mapping[str, str]) -> ConceptRow:
    own = measures.edits.get((method, concept), measures.scores.iloc[:0])
    lost = own[own["status"] != "ok"]
    forget, retain = concept_cells(measures, method, concept)
    status = "not_run" if own.empty else "ok" if lost.empty else str(lost["status"].iloc[0])
    return ConceptRow(
        method=method,
        concept=concept,
        kind=kinds.get(concept, ""),
        forget=forget,
        retain=retain,
        status=status,
        reason="" if lost.empty else str(lost["reason"].iloc[0]),
    )


def _slices(scores: pd.DataFrame, draws: int, level: float, kinds: Mapping[str, str]) -> list[Slice]:
    """Return forget, retain and harmonic mean of every method on each part of the scores."""
    kind_of = scores["forget"].map(lambda concept: kinds.get(concept, ""))
    parts = [("kind", kind, scores[kind_of == kind]) for kind in get_args(ConceptKind)]
    parts += [("prompt-kind", kind, scores[scores["prompt_kind"] == kind]) for kind in get_args(PromptKind)]
    found = []
    for by, name, part in parts:
        if part.empty:
            continue
        measures = Measures(part, draws, level, rates=("forget", "retain"))
        columns: tuple[Column, ...] = ("forget", "retain", "harmonic_mean")
        cells = {method: all_cells(measures, method, columns) for method in measures.labels.methods}
        found.append(Slice(by=by, name=name, forget=measures.labels.forget, cells=cells))
    return found


def _roles(measures: Measures) -> tuple[tuple[Role, ...], ...]:
    pairs = measures.scores.drop_duplicates(["forget", "concept"])
    role: dict[tuple[str, str], Role] = {
        (forget, concept): "neighbour" if neighbour else own
        for forget, concept, neighbour, own in zip(
            pairs["forget"], pairs["concept"], pairs["neighbour"], pairs["role"], strict=True
        )
    }
    labels = measures.labels
    return tuple(tuple(role.get((e, c), "") for c in labels.concepts) for e in labels.forget)


def _shows(measures: Measures, method: str) -> tuple[tuple[float | None, ...], ...]:
    rows = measures.methods[method]
    mean = rows.groupby(["forget", "concept"])["label"].mean()
    found = {pair: None if np.isnan(value) else float(value) for pair, value in mean.items()}
    return tuple(tuple(found.get((e, c)) for c in measures.labels.concepts) for e in measures.labels.forget)
