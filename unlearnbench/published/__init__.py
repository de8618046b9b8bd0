"""Tables of papers, as data with their source. They are shown beside measured rows and never ranked with them."""

from __future__ import annotations

import csv
import difflib
import math
import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from unlearnbench.api import Frozen
from unlearnbench.errors import UserError
from unlearnbench.stats.formulas import harmonic_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_RANGES: Final = {"1": (0.0, 1.0), "%": (0.0, 100.0)}
_COUNTS: Final = ("forget_hits", "forget_n", "retain_hits", "retain_n")


class PublishedColumn(Frozen):
    """What a column of a published table holds."""

    name: str
    title: str
    direction: Literal["higher", "lower"] = Field(description="which values are better")
    unit: str = Field(description="'1' for a share, '%', 's', 'min', 'GB', 'n' for a count, '' for none")

    @property
    def range(self) -> tuple[float, float]:
        """Return least and greatest possible value."""
        return _RANGES.get(self.unit, (-math.inf, math.inf))


class PublishedRow(Frozen):
    """One method on one case, or over all cases."""

    method: str
    case: str = Field("", description="concept, class, task ...; '' = all of them, or there are none")
    values: dict[str, float | None] = Field(description="column -> value as printed; none = not reported")


class PublishedTable(Frozen):
    """A table of a paper or of somebody's leaderboard."""

    name: str
    title: str
    source: str = Field(description="who published it")
    where: str = Field(description="which table of the source")
    model: str
    protocol: str = Field(description="how it was measured; another protocol gives other numbers")
    verified: str = Field(description="what was checked of it, and what is not certain")
    case: str = Field(description="what the cases are; '' = there are none")
    columns: tuple[PublishedColumn, ...]
    rows: tuple[PublishedRow, ...] = Field(description="as published")
    summary: tuple[PublishedRow, ...] = Field(
        description="one row a method, computed from the rows; () = there is none"
    )

    @property
    def headline(self) -> tuple[PublishedRow, ...]:
        """Return the rows to show beside a board: one a method where there are such."""
        return self.summary or self.rows


def names() -> list[str]:
    """Return the names of all tables."""
    return list(_tables())


def table(name: str) -> PublishedTable:
    """Return a published table.

    Raises:
        UserError: there is no such table.
    """
    entries = _tables()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose one of: {', '.join(entries)}"
        raise UserError(f"unknown published table '{name}'", hint)
    entry = dict(entries[name])
    rule = str(entry.pop("summary", ""))
    lines = files(__name__).joinpath(f"data/{name}.csv").read_text(encoding="utf-8").splitlines()
    read = list(csv.DictReader(lines))
    rows = [_counted(one) if rule == "counts" else _printed(one) for one in read]
    summary = _summary(rows, rule) if rule != "counts" else _count_summary(read)
    return PublishedTable.model_validate({"name": name, **entry, "rows": rows, "summary": summary})


def harmonic_of_counts(rows: Iterable[Mapping[str, str]]) -> tuple[float, float, float]:
    """Return forget and retain as means over concepts, unrounded, and the harmonic mean of these two.

    Args:
        rows: one a forgotten concept: `forget_hits` of `forget_n` images do not show it, `retain_hits` of `retain_n`
            images of the other concepts show theirs.
    """
    counts = [[int(row[name]) for name in _COUNTS] for row in rows]
    forget = math.fsum(hits / n for hits, n, _, _ in counts) / len(counts)
    retain = math.fsum(hits / n for _, _, hits, n in counts) / len(counts)
    return forget, retain, float(harmonic_mean(forget, retain))


def cut(value: float, digits: int = 3) -> float:
    """Return a value cut after some digits, as the tables of Choudhary and Agrawal print harmonic means."""
    # Below any digit that is kept, above the error of binary fractions: .48 is stored as a little less than .48.
    return math.floor(value * 10.0**digits + 1e-9) / 10.0**digits


@cache
def _tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads(files(__name__).joinpath("tables.toml").read_text(encoding="utf-8"))


def _printed(row: Mapping[str, str]) -> PublishedRow:
    values = {name: float(text) if text else None for name, text in row.items() if name not in ("method", "case")}
    return PublishedRow(method=row["method"], case=row["case"], values=values)


def _counted(row: Mapping[str, str]) -> PublishedRow:
    values = dict(zip(("forget", "retain", "harmonic_mean"), harmonic_of_counts([row]), strict=True))
    return PublishedRow(method=row["method"], case=row["case"], values=values)


def _count_summary(read: list[dict[str, str]]) -> list[PublishedRow]:
    summary = []
    for method in dict.fromkeys(row["method"] for row in read):
        found = harmonic_of_counts(row for row in read if row["method"] == method)
        values = dict(zip(("forget", "retain", "harmonic_mean", "as_printed"), (*found, cut(found[2])), strict=True))
        summary.append(PublishedRow(method=method, values=values))
    return summary


def _summary(rows: list[PublishedRow], rule: str) -> list[PublishedRow]:
    if rule.startswith("case:"):
        return [row for row in rows if row.case == rule.removeprefix("case:")]
    if rule != "mean":
        return []
    summary = []
    for method in dict.fromkeys(row.method for row in rows):
        own = [row.values for row in rows if row.method == method]
        values = {name: _mean([one[name] for one in own]) for name in own[0]}
        summary.append(PublishedRow(method=method, values=values))
    return summary


def _mean(values: list[float | None]) -> float | None:
    """Return the mean of what was reported; none if something was not, as it would be the mean of other cases."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) else None
