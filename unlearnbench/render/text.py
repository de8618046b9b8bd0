"""What all renderers write alike: numbers, counts, marks and remarks."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from unlearnbench.identity import short
from unlearnbench.run.several import members
from unlearnbench.stats.intervals import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unlearnbench.board.cells import Cell
    from unlearnbench.board.columns import ColumnInfo
    from unlearnbench.board.data import Board, ConceptRow, Identified, Row
    from unlearnbench.published import PublishedTable

_ROLES: Final = ("forget", "retain")
_UNSAFE: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def plain(text: str) -> str:
    r"""Return text with every control and formatting character written out, such as `\x1b` or `\u202e`."""
    return "".join(
        c if unicodedata.category(c) not in _UNSAFE else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def number(value: float, unit: str, digits: int = 3) -> str:
    """Return a share as `.642`, a count in thousands or millions as `1.05M`, anything else with few digits."""
    if unit == "1":
        text = f"{value:.{digits}f}"
        return re.sub(r"^(-?)0\.", r"\1.", text)
    if unit == "weights":
        for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if value >= power:
                return f"{value / power:.3g}{letter}"
        return f"{value:.0f}"
    if unit == "n":
        return f"{value:,.0f}"
    if unit in ("", "%"):
        return f"{value:g}"
    if unit == "score":
        return f"{value:.1f}"
    if unit == "relative":
        return f"{value:.2g}"
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.095 else f"{value:.2f}"


def value_of(cell: Cell, column: ColumnInfo, unedited: bool) -> str:
    """Return the value of a cell; 'n/a' = there is none, '-' = only an edit has such a value."""
    if cell.value is None:
        return "-" if unedited and not column.controls else "n/a"
    if column.name == "verdict":
        return "ok" if cell.value == 1.0 else f"{round(cell.value * cell.n_concepts)} of {cell.n_concepts} ok"
    return number(cell.value, column.unit)


def interval_of(cell: Cell, column: ColumnInfo) -> str:
    """Return `[.45,.74]`, or '' if there is no interval."""
    if cell.lo is None or cell.hi is None:
        return ""
    return f"[{number(cell.lo, column.unit, 2)},{number(cell.hi, column.unit, 2)}]"


def heading(board: Board) -> list[str]:
    """Return the lines under the title: what was measured, on what, and n."""
    made = [
        sorted({sum(_made(getattr(c, role)) for c in board.by_concept if c.method == row.method) for row in board.rows})
        for role in _ROLES
    ]
    most = "at most " if any(len(numbers) > 1 for numbers in made) else ""
    forget, retain = (_count(numbers[-1], f"{role} image") for numbers, role in zip(made, _ROLES, strict=True))
    return [
        f"suite {plain(board.suite)} ({_count(len(board.evaluate), 'concept')} evaluated), "
        f"protocol {short(board.protocol)}",
        f"model {_identified(board.model)}, judge {_identified(board.judge)}",
        f"n a method: {_forgotten(board)}, {most}{forget}, {retain}",
    ]


def concept_note(board: Board) -> str:
    """Return what a cell of the view by concept rests on."""
    images = [row.forget.n_images for row in board.by_concept if row.forget.n_images]
    if not images:
        return ""
    least, most = min(images), max(images)
    low, high = wilson_interval(least // 2, least, board.level)
    return (
        f"A forget value rests on {least if least == most else f'{least} to {most}'} images: its "
        f"{100 * board.level:g} % interval is up to {number(high - low, '1', 2)} wide. Formats csv and json hold each "
        "interval."
    )


def marks(row: Row, total: int) -> list[str]:
    """Return what is missing from a row or wrong with it, in a few words each; a broken edit failed."""
    result = [f"{row.count(status)} of {row.edits} {status}" for status in ("failed", "skipped") if row.count(status)]
    result += [f"{one.edits} of {row.edits} {one.verdict}" for one in row.unsound if one.verdict != "broken"]
    if row.not_run:
        result.append(f"{len(row.not_run)} of {total} not run")
    if unscored := row.cells["harmonic_mean"].n_unscored:
        result.append(f"{unscored:,} unscored")
    return result


def status_of(row: ConceptRow) -> str:
    """Return the word for a concept without a value, or '' if it has values."""
    if row.status == "not_run":
        return "not run"
    if row.status != "ok" and row.forget.value is None and row.retain.value is None:
        return row.status
    return ""


def remarks(board: Board) -> list[str]:
    """Return why rows and cells are incomplete: one sentence a cause."""
    lines = []
    for row in board.rows:
        name = plain(row.method)
        for failure in row.failures:
            what = _count(failure.edits, "edit")
            which = f" ({_some(failure.concepts)})"
            if failure.edits == row.edits > 1:
                what, which = f"all {what}", ""
            lines.append(f"{name}: {what} {failure.status}{which}: {plain(failure.reason)}")
        for one in row.unsound:
            if one.verdict != "broken":
                which = f"({_some(one.concepts)})" + (f"; of {plain(one.concepts[0])}" if one.edits > 1 else "")
                lines.append(f"{name}: {_count(one.edits, 'edit')} {one.verdict} {which}: {plain(one.reason)}")
        if row.not_run:
            lines.append(f"{name}: not run on {_some(row.not_run)}.")
        told = {failure.reason for failure in row.failures}
        reasons: dict[str, list[str]] = {}
        for column in board.columns:
            cell = row.cells[column.name]
            if cell.value is None and cell.note not in told and not (row.unedited and not column.controls):
                reasons.setdefault(cell.note, []).append(column.title)
        lines += [f"{name}: n/a for {', '.join(titles)}: {plain(note)}" for note, titles in reasons.items()]
    return lines


def legend(board: Board) -> list[str]:
    """Return what each column means."""
    shown = [*board.columns, *(() if board.ranked_by in board.columns else (board.ranked_by,))]
    ranks = {board.rank_by: f"; it ranks the methods, {board.ranked_by.direction} is better"}
    return [f"{column.title}: {column.description}{ranks.get(column.name, '')}" for column in shown]


def origin(table: PublishedTable) -> list[str]:
    """Return where a published table is from, how it was measured and what was checked of it."""
    return [
        f"source: {table.source}, {table.where}",
        f"model: {table.model}; protocol: {table.protocol}",
        f"checked: {table.verified}",
    ]


def p_value(p: float | None) -> str:
    """Return a p-value with two digits, or why there is none."""
    return "n/a" if p is None else "<.001" if p < 0.001 else number(p, "1")


def _identified(thing: Identified) -> str:
    digest = short(thing.fingerprint)
    return plain(thing.id) + (f" ({digest})" if digest else "")


def _forgotten(board: Board) -> str:
    concepts = _count(sum(len(members(label)) for label in board.forget), "forgotten concept")
    return concepts if all(len(members(label)) == 1 for label in board.forget) else f"{concepts} in one edit"


def _made(cell: Cell) -> int:
    return cell.n_images + cell.n_unscored + cell.n_failed


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _some(names: Iterable[str], most: int = 6) -> str:
    names = [plain(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
