"""The board: every figure that a leaderboard shows, as data. Renderers turn it into text and add nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from unlearnbench.api import Frozen
from unlearnbench.board.cells import Cell
from unlearnbench.board.columns import COLUMNS, ColumnInfo
from unlearnbench.board.comparison import Difference
from unlearnbench.board.measures import BOUNDS
from unlearnbench.published import PublishedTable
from unlearnbench.spec import Column
from unlearnbench.verdict import Word

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
