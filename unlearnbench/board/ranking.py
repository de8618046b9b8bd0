"""The order of the methods on a board: who is ahead, and who is told apart from whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnbench.board.cells import SMALL
from unlearnbench.board.columns import COLUMNS
from unlearnbench.board.comparison import Difference, differences
from unlearnbench.board.measures import COMPOSITES, Measures
from unlearnbench.stats.significance import shared_ranks, tie_groups

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unlearnbench.board.cells import Cell
    from unlearnbench.spec import Column


@dataclass(frozen=True)
class Place:
    """Where a method stands; no rank: a control, or it lacks scores."""

    method: str
    rank: int | None = None
    group: str = ""


@dataclass(frozen=True)
class Ranking:
    """The column that ranks, the places in the order of the board, and the differences that decided about them."""

    column: Column
    places: tuple[Place, ...]
    differences: tuple[Difference, ...]


def rank(measures: Measures, cells: Mapping[str, Cell], column: Column) -> Ranking:
    """Return the places of all methods by one column, in its direction.

    From `SMALL` concepts on methods that are not told apart share a rank: it is 1 + the number of better methods that
    are told apart from this one. With fewer concepts no test can tell, and ranks only order the values.

    Args:
        measures: the values.
        cells: the cell of each method in the column that ranks.
        column: that column; its direction says which values are better.
    """
    info = COLUMNS[column]

    def order(method: str) -> tuple[bool, float, str]:
        value = cells[method].value
        if value is None:
            return True, 0.0, method
        return False, round(-value if info.direction == "higher" else value, 12), method

    methods = [name for name in measures.labels.methods if name not in measures.controls]
    ranked = sorted((m for m in methods if measures.complete(m) and cells[m].value is not None), key=order)
    rest = sorted((m for m in methods if m not in ranked), key=order)
    testable = column in measures.concepts or column in COMPOSITES
    found = differences(measures, ranked, column) if testable else []
    groups = [""] * len(ranked)
    if found and len(measures.labels.forget) >= SMALL:
        index = {name: i for i, name in enumerate(ranked)}
        apart = {(index[one.first], index[one.second]): one.apart(measures.level) for one in found}
        ranks, groups = shared_ranks(len(ranked), apart), tie_groups(len(ranked), apart)
    else:
        ranks = [1 + sum(order(other)[1] < order(method)[1] for other in ranked) for method in ranked]
    return Ranking(
        column=column,
        places=(
            *(Place(*place) for place in zip(ranked, ranks, groups, strict=True)),
            *(Place(name) for name in (*rest, *measures.controls)),
        ),
        differences=tuple(found),
    )
