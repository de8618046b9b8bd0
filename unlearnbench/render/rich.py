"""A board for a terminal of any width: nothing is cut off; what does not fit moves to a second line or table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from unlearnbench.render import grids, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from unlearnbench.board.columns import ColumnInfo
    from unlearnbench.board.data import Board, Row
    from unlearnbench.published import PublishedTable
    from unlearnbench.render.grids import Grid

T = TypeVar("T")
_NAME: Final = 20  # widest label before it is broken
_PAIR: Final = 9  # the same above a pair of values


class BoardView:
    """A board that a rich console prints.

    Args:
        board: the board.
        by: "method" = one row a method; "concept" = each method on each forgotten concept; "kind" and "prompt-kind" =
            each method on a part of the concepts or of the prompts.
    """

    def __init__(self, board: Board, by: str = "method") -> None:
        self.board = board
        self.by = by

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield title, tables and notes."""
        board = self.board
        yield Text(text.plain(board.title), style="bold")
        for line in text.heading(board):
            yield Text(line, style="dim")
        yield Text()
        notes = [*text.legend(board), *board.notes]
        if self.by == "concept":
            yield Text("Each pair: forget and retain.\n")
            tables = _fit(board.rows, lambda part: concept_table(board, part), console, options)
            notes = [note for note in [text.concept_note(board)] if note]
        elif self.by == "method":
            tables = [method_table(board, board.columns, stacked=False)]
            if _width(tables[0], console, options) > options.max_width:
                tables = _fit(board.columns, lambda part: method_table(board, part, stacked=True), console, options)
        else:
            tables = list(grid_tables(grids.slice_grid(board, self.by), console, options))
        for table in tables:
            yield table
            yield Text()
        yield _items([*((line, "red") for line in text.remarks(board)), *((line, "dim") for line in notes)])
        for published in board.published:
            yield Text(f"\nPublished, not ranked with the rows above: {published.title}\n", style="bold")
            yield from PublishedView(published).__rich_console__(console, options)


class PublishedView:
    """A published table and its source, for a rich console.

    Args:
        table: the table.
        whole: as printed; else one row a method where the table has such.
    """

    def __init__(self, table: PublishedTable, *, whole: bool = False) -> None:
        self.table = table
        self.whole = whole

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table and where it is from."""
        for table in grid_tables(grids.published_grid(self.table, whole=self.whole), console, options):
            yield table
            yield Text()
        yield _items([(line, "dim") for line in text.origin(self.table)])


class GridView:
    """Any table of texts with notes, for a rich console.

    Args:
        grid: the table.
        notes: what stands below it.
    """

    def __init__(self, grid: Grid, notes: Sequence[str]) -> None:
        self.grid = grid
        self.notes = notes

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table and its notes."""
        for table in grid_tables(self.grid, console, options):
            yield table
            yield Text()
        yield _items([(line, "dim") for line in self.notes])


def grid_tables(grid: Grid, console: Console, options: ConsoleOptions) -> Iterator[Table]:
    """Yield the tables that show a grid, in order, each as wide as the console allows."""
    yield from _fit(range(grid.keys, len(grid.header)), lambda part: _grid_table(grid, part), console, options)


def _grid_table(grid: Grid, columns: Sequence[int]) -> Table:
    shown = [*range(grid.keys), *columns]
    table = _table()
    lines = max(len(grid.header[i].split()) for i in shown)
    for i in shown:
        left = i in grid.left
        table.add_column(
            _header(text.plain(grid.header[i]), lines),
            justify="left" if left else "right",
            overflow="fold",
            max_width=_NAME if left else None,
            no_wrap=not left,
        )
    before: tuple[str, ...] = ()
    for number, row in enumerate(grid.rows):
        key = row[: grid.keys]
        cells = [text.plain(row[i]) for i in shown]
        if grid.rules and before and key[0] == before[0]:
            cells[0] = ""  # a part is named once
        table.add_row(*(Text(cell) for cell in cells), end_section=number in grid.rules)
        before = key
    return table


def method_table(board: Board, columns: Sequence[ColumnInfo], stacked: bool) -> Table:
    """Return one row a method.

    Args:
        board: the board.
        columns: columns of the board to show.
        stacked: whether an interval stands below its value or beside it.
    """
    table = _table()
    lines = max(len(column.title.split()) for column in columns)
    table.add_column(_header("#", lines), no_wrap=True)
    table.add_column(_header("method", lines), overflow="fold", max_width=_NAME)
    for column in columns:
        table.add_column(_header(column.title, lines), justify="right")
    for row, after in zip(board.rows, [*board.rows[1:], None], strict=True):
        name = Text(_broken(row.method, _NAME), style="" if row.rank is None else "bold")
        for mark in text.marks(row, len(board.forget)):
            name.append(f"\n{mark}", style="not bold red")
        rank = "" if row.rank is None else f"{row.rank} {row.group}".rstrip()
        cells = [_value(row, column, stacked, column.name == board.rank_by) for column in columns]
        table.add_row(Text(rank), name, *cells, end_section=after is not None and after.control and not row.control)
    return table


def concept_table(board: Board, rows: Sequence[Row]) -> Table:
    """Return one row a forgotten concept, with forget and retain of each method."""
    found = {(one.concept, one.method): one for one in board.by_concept}
    kinds = {concept: found[concept, board.rows[0].method].kind for concept in board.forget}
    order = sorted(board.forget, key=lambda concept: kinds[concept])
    table = _table()
    names = [_broken(row.method, _PAIR) for row in rows]
    lines = max(name.count("\n") + 1 for name in names)
    table.add_column(Text("\n" * (lines - 1) + "forgotten"), overflow="fold", max_width=_NAME)
    for name in names:
        top = "\n" * (lines - 1 - name.count("\n"))
        table.add_column(Text(top + name), justify="right", overflow="fold", max_width=_PAIR)
    for concept, after in zip(order, [*order[1:], None], strict=True):
        cells = []
        for row in rows:
            one = found[concept, row.method]
            pair = ["n/a" if c.value is None else text.number(c.value, "1", 2) for c in (one.forget, one.retain)]
            word = text.status_of(one)
            cells.append(Text(word, style="red") if word else Text(" ".join(f"{value:>4}" for value in pair)))
        table.add_row(
            Text(text.plain(concept)), *cells, end_section=after is not None and kinds[after] != kinds[concept]
        )
    return table


def _value(row: Row, column: ColumnInfo, stacked: bool, ranks: bool) -> Text:
    cell = row.cells[column.name]
    shown = Text(text.value_of(cell, column, row.unedited), style="red" if cell.value is None and cell.n_failed else "")
    if ranks and not row.control:
        shown.stylize("bold")
    if interval := text.interval_of(cell, column):
        shown.append(("\n" if stacked else " ") + interval, style="not bold dim")
    return shown


def _table() -> Table:
    return Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")


def _header(title: str, lines: int) -> Text:
    """Return a title with one word a line, its last word on the last of `lines`."""
    words = title.split()
    return Text("\n" * (lines - len(words)) + "\n".join(words))


def _broken(name: str, width: int) -> str:
    """Return a label with line breaks after its separators, so that no line is longer than `width` if possible."""
    lines = [""]
    for piece in re.split(r"(?<=[,\[ /_-])", text.plain(name)):
        if lines[-1] and cell_len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def _items(lines: Sequence[tuple[str, str]]) -> Table:
    """Return (text, style) pairs as a list with hanging indents."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    for line, style in lines:
        table.add_row(Text("-", style=style), Text(line, style=style))
    return table


def _width(renderable: Table, console: Console, options: ConsoleOptions) -> int:
    return Measurement.get(console, options.update(max_width=10_000), renderable).maximum


def _fit(
    items: Sequence[T], make: Callable[[Sequence[T]], Table], console: Console, options: ConsoleOptions
) -> list[Table]:
    """Return the tables that show all items, in order, each as wide as the console allows."""
    parts: list[list[T]] = [[]]
    for item in items:
        if parts[-1] and _width(make([*parts[-1], item]), console, options) > options.max_width:
            parts.append([])
        parts[-1].append(item)
    return [make(part) for part in parts]
