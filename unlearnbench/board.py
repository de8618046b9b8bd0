"""The board: every figure that a leaderboard shows, as data. Renderers turn it into text and add nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import ConfigDict, Field

from unlearnbench import stats
from unlearnbench.api import Frozen
from unlearnbench.cells import COLUMNS, SMALL, Cell, ColumnInfo, Measures, Normalised
from unlearnbench.errors import UserError
from unlearnbench.plan import PROMPT_SWAP, UNEDITED
from unlearnbench.results import validate
from unlearnbench.spec import Column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

CONTROLS: Final = (PROMPT_SWAP, UNEDITED)  # from the ceiling to the floor
Status = Literal["failed", "skipped"]


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


class Row(Frozen):
    """One method, or one control."""

    method: str = Field(description="label of the row")
    plugin: str
    family: str
    control: bool = Field(description="a control is no competitor: it shows the floor or the ceiling, without a rank")
    rank: int | None = Field(description="by harmonic mean; equal values share a rank; none = a control or incomplete")
    group: str = Field("", description="methods that share a letter are not told apart; '' = not compared")
    cells: dict[Column, Cell]
    normalised: dict[Normalised, Cell] = Field(
        default_factory=dict, description="values relative to both controls; for complete rows only"
    )
    edits: int = Field(ge=0, description="edits of the method: forgotten concepts times method seeds")
    failures: tuple[Failure, ...] = ()
    not_run: tuple[str, ...] = Field((), description="forgotten concepts of the board that the method was not run on")

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


class Board(Frozen):
    """A leaderboard as data."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    version: Literal["unlearnbench.board/1"] = Field("unlearnbench.board/1", alias="schema")
    title: str
    suite: str
    protocol: str = Field(description="digest of all that the methods have in common")
    model: Identified
    judge: Identified
    level: float = Field(gt=0.0, lt=1.0, description="coverage of the intervals")
    draws: int = Field(ge=1, description="bootstrap draws")
    forget: tuple[str, ...] = Field(description="forgotten concepts")
    evaluate: tuple[str, ...] = Field(description="concepts that images were made of")
    columns: tuple[ColumnInfo, ...]
    rows: tuple[Row, ...] = Field(description="ranked methods, then methods without a rank, then controls")
    by_concept: tuple[ConceptRow, ...] = Field(description="in the order of the rows, then of the concepts")
    notes: tuple[str, ...]


def make_board(
    scores: pd.DataFrame,
    *,
    title: str,
    columns: Sequence[Column],
    model: Identified,
    judge: str | None = None,
    notes: Sequence[str] = (),
    draws: int = 2000,
    level: float = stats.LEVEL,
) -> Board:
    """Return the board of a scores table.

    Args:
        scores: scores table of one suite and protocol.
        title: heading of the board.
        columns: columns to show, in this order.
        model: the base model.
        judge: name of the judge whose answers count; needed if the table has several.
        notes: remarks of the caller; they follow those of the board.
        draws: bootstrap draws; their generator is seeded from the protocol digest.
        level: coverage of the intervals.

    Raises:
        UserError: the table is empty, mixes suites or protocols, or has several judges and `judge` names none of them.
        ValueError: the table is not valid.
    """
    scores = validate(scores)
    scores = scores[scores["forget"] != ""]
    if scores.empty:
        raise UserError("there are no scores to make a board of", "make some with `unlearnbench run`")
    if len(scores[["suite", "protocol"]].drop_duplicates()) > 1:
        raise UserError(
            "the scores come from different protocols, which no board may mix",
            "name the scores of one suite and one run configuration",
        )
    scores, identity = _judged(scores, judge)
    measures = Measures(scores, draws, level)
    methods = measures.labels.methods
    rows = _ranked([_row(measures, method, columns) for method in methods], measures)
    forget = measures.labels.forget
    kinds = dict(zip(scores["concept"], scores["kind"], strict=True))
    return Board(
        title=title,
        suite=str(scores["suite"].iloc[0]),
        protocol=str(scores["protocol"].iloc[0]),
        model=model,
        judge=identity,
        level=level,
        draws=draws,
        forget=forget,
        evaluate=measures.labels.concepts,
        columns=tuple(COLUMNS[name] for name in columns),
        rows=tuple(rows),
        by_concept=tuple(_concept_row(measures, row.method, concept, kinds) for row in rows for concept in forget),
        notes=(*_notes(rows, measures, draws), *notes),
    )


def _judged(scores: pd.DataFrame, judge: str | None) -> tuple[pd.DataFrame, Identified]:
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


def _row(measures: Measures, method: str, columns: Sequence[Column]) -> Row:
    labels, own = measures.labels, measures.methods[method]
    present = {str(concept) for concept in own["forget"].unique()}
    both = all(name in labels.methods and measures.complete(name) for name in CONTROLS)
    normalise = both and method not in CONTROLS and measures.complete(method)
    return Row(
        method=method,
        plugin=str(own["plugin"].iloc[0]),
        family=str(own["family"].iloc[0]),
        control=method in CONTROLS,
        rank=None,
        cells={name: measures.cell(method, name) for name in dict.fromkeys([*columns, "harmonic_mean"])},
        normalised=measures.normalised(method, UNEDITED, PROMPT_SWAP) if normalise else {},
        edits=len(own[["forget", "method_seed"]].drop_duplicates()),
        failures=_failures(own),
        not_run=tuple(concept for concept in labels.forget if concept not in present),
    )


def _failures(rows: pd.DataFrame) -> tuple[Failure, ...]:
    """Return each edit that lost images once, under the first reason it has."""
    lost = rows[rows["status"] != "ok"].drop_duplicates(["forget", "method_seed"])
    return tuple(
        Failure(status=status, reason=reason, edits=len(edits), concepts=tuple(sorted(edits["forget"].unique())))
        for (status, reason), edits in lost.groupby(["status", "reason"])
    )


def _ranked(rows: list[Row], measures: Measures) -> list[Row]:
    """Return the rows in the order of the board, with rank and group."""
    value = {row.method: row.cells["harmonic_mean"].value for row in rows}
    competing = [row for row in rows if not row.control and measures.complete(row.method)]
    competing.sort(key=lambda row: (-round(value[row.method] or 0.0, 12), row.method))
    groups = [""] * len(competing)
    if len(competing) > 1 and len(measures.labels.forget) >= SMALL:
        order = [measures.labels.methods.index(row.method) for row in competing]
        groups = stats.tie_groups(measures.draws["harmonic_mean"][:, order], measures.level)
    ranked: list[Row] = []
    for i, (row, group) in enumerate(zip(competing, groups, strict=True)):
        same = i > 0 and np.isclose(value[row.method] or 0.0, value[ranked[-1].method] or 0.0, rtol=0.0, atol=1e-12)
        ranked.append(row.model_copy(update={"rank": ranked[-1].rank if same else i + 1, "group": group}))
    rest = [row for row in rows if not row.control and not measures.complete(row.method)]
    rest.sort(key=lambda row: (value[row.method] is None, -(value[row.method] or 0.0), row.method))
    return [*ranked, *rest, *sorted((row for row in rows if row.control), key=lambda row: CONTROLS.index(row.method))]


def _concept_row(measures: Measures, method: str, concept: str, kinds: Mapping[str, str]) -> ConceptRow:
    own = measures.edits.get((method, concept), measures.scores.iloc[:0])
    lost = own[own["status"] != "ok"]
    forget, retain = measures.concept_cells(method, concept)
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


def _notes(rows: Sequence[Row], measures: Measures, draws: int) -> list[str]:
    n, percent = len(measures.labels.forget), f"{100 * measures.level:g} %"
    notes = []
    if n == 1:
        notes.append(
            "One forgotten concept: no interval over concepts; the view by concept, as csv or json, has one of images."
        )
    else:
        few = f" Fewer than {SMALL} concepts: Student's interval on concept means where wider." if n < SMALL else ""
        notes.append(
            f"[lo, hi]: {percent} interval; bootstrap over concepts, prompts and seeds, the same {draws:,} draws for "
            f"all methods; Wilson's where all images agree.{few}"
        )
    if len(measures.scores["method_seed"].unique()) == 1:
        notes.append("One method seed: how much a method varies from edit to edit is in no interval.")
    if any(row.group for row in rows):
        notes.append(f"A shared letter: the {percent} interval of the paired difference in harmonic mean holds 0.")
    if any(row.rank is None and not row.control for row in rows):
        notes.append("No rank: some forgotten concepts have no score, so the values are means over other concepts.")
    means = {row.method: measures.cell(row.method, "forget").value for row in rows if row.control}
    if (ceiling := means.get(PROMPT_SWAP)) is not None:
        notes.append(
            f"{PROMPT_SWAP} is a control: the unedited model, given the target prompts. Its forget {ceiling:.3f} is "
            "the ceiling: what the judge gives a perfect edit."
        )
    if (floor := means.get(UNEDITED)) is not None:
        notes.append(
            f"{UNEDITED} is a control: its forget {floor:.3f} is the floor: what the judge misses, and prompts that "
            "the model fails."
        )
    return notes
