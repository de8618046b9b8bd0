"""The board: every figure that a leaderboard shows, as data. Renderers turn it into text and add nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from pydantic import ConfigDict, Field

from unlearnbench import ranking, stats
from unlearnbench.api import ConceptKind, Frozen, PromptKind
from unlearnbench.cells import Cell, all_cells, concept_cells
from unlearnbench.columns import COLUMNS, ColumnInfo
from unlearnbench.comparison import Difference
from unlearnbench.errors import UserError
from unlearnbench.measures import BOUNDS, Measures
from unlearnbench.notes import board_notes
from unlearnbench.published import PublishedTable
from unlearnbench.results import validate
from unlearnbench.spec import Column
from unlearnbench.verdict import Word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

Status = Literal["failed", "skipped"]
Role = Literal["forget", "retain", "neighbour", "overlap", ""]


class Identified(Frozen):
    """A model or a judge: what it is called, and the digest of its weights and configuration."""

    id: str
    fingerprint: str


class Failure(Frozen):
    """Edits of one method that share the reason why they have no scores, or not all."""

    status: Status
    reason: str
    edits: int = Field(ge=1)
    concepts: tuple[str, ...] = Field(description="the concepts that these edits forget")


class Unsound(Frozen):
    """Edits of one method that got the same verdict, one that is not ok."""

    verdict: Word
    reason: str = Field(description="of the first of them")
    edits: int = Field(ge=1)
    concepts: tuple[str, ...] = Field(description="the concepts that these edits forget")


class Row(Frozen):
    """One method, or one control."""

    method: str = Field(description="label of the row")
    plugin: str
    family: str = Field(description="distribution of the method; control for a control")
    control: bool = Field(description="a control is no competitor: it is there to compare with, without a rank")
    rank: int | None = Field(description="by the column that ranks; none = a control, or scores are missing")
    group: str = Field("", description="methods that share a letter are not told apart; '' = not compared")
    cells: dict[Column, Cell]
    edits: int = Field(ge=0, description="edits of the method: forgotten concepts times method seeds")
    failures: tuple[Failure, ...] = ()
    unsound: tuple[Unsound, ...] = Field((), description="edits whose verdict is not ok")
    not_run: tuple[str, ...] = Field((), description="forgotten concepts of the board that the method was not run on")

    @property
    def unedited(self) -> bool:
        """Tell whether there is no edit behind the row: it shows the unedited model, whatever that is asked for."""
        return self.method in BOUNDS

    def count(self, status: Status) -> int:
        """Return how many edits failed or were skipped, entirely or in part."""
        return sum(failure.edits for failure in self.failures if failure.status == status)


class ConceptRow(Frozen):
    """One method on one forgotten concept."""

    method: str
    concept: str
    kind: str
    forget: Cell
    retain: Cell
    status: Literal["ok", "failed", "skipped", "not_run"]
    reason: str = ""


class Slice(Frozen):
    """All methods on a part of the board: the forgotten concepts of one kind, or one kind of prompts."""

    by: Literal["kind", "prompt-kind"]
    name: str
    forget: tuple[str, ...] = Field(description="forgotten concepts of the part")
    cells: dict[str, dict[Column, Cell]] = Field(description="method -> forget, retain and harmonic mean")


class Matrix(Frozen):
    """What one method's edits do to every evaluated concept."""

    method: str
    shows: tuple[tuple[float | None, ...], ...] = Field(
        description="[forget][evaluate] share of scored images of the evaluated concept that show it; none = no score"
    )


class Board(Frozen):
    """A leaderboard as data."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    version: Literal["unlearnbench.board/2", "unlearnbench.board/3"] = Field("unlearnbench.board/3", alias="schema")
    title: str
    suite: str
    protocol: str = Field(description="digest of all that the methods have in common")
    model: Identified
    judge: Identified
    level: float = Field(gt=0.0, lt=1.0, description="coverage of the intervals")
    draws: int = Field(ge=1, description="bootstrap draws")
    forget: tuple[str, ...] = Field(description="forgotten concepts")
    evaluate: tuple[str, ...] = Field(description="concepts that images were made of")
    columns: tuple[ColumnInfo, ...] = Field(description="what the suite shows, in its order")
    more: tuple[ColumnInfo, ...] = Field(description="further columns that hold a value")
    rank_by: Column = Field(description="the column that ranks, in its own direction")
    rows: tuple[Row, ...] = Field(description="ranked methods, then methods without a rank, then controls")
    by_concept: tuple[ConceptRow, ...] = Field(description="in the order of the rows, then of the concepts")
    slices: tuple[Slice, ...] = Field(description="by kind of the forgotten concept, then by kind of the prompt")
    differences: tuple[Difference, ...] = Field(description="every pair of ranked methods in the column that ranks")
    roles: tuple[tuple[Role, ...], ...] = Field(
        description="[forget][evaluate] what a concept counts for; '' = nothing"
    )
    matrices: tuple[Matrix, ...] = Field(description="in the order of the rows")
    provenance: dict[str, str] = Field(description="how the scores were made, in words")
    published: tuple[PublishedTable, ...] = Field((), description="tables of papers; neither ranked nor comparable")
    notes: tuple[str, ...]

    @property
    def ranked_by(self) -> ColumnInfo:
        """Return the column that ranks."""
        return COLUMNS[self.rank_by]


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
    level: float = stats.LEVEL,
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
