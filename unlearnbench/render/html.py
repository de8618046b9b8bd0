"""A board as one web page that needs nothing else: no server, no network, no file beside it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from unlearnbench.board.measures import BOUNDS
from unlearnbench.identity import short
from unlearnbench.render import grids, plots, text
from unlearnbench.render import losses as loss_figures
from unlearnbench.run.plan import PROMPT_SWAP, UNEDITED
from unlearnbench.run.several import members

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.board.cells import Cell
    from unlearnbench.board.columns import ColumnInfo
    from unlearnbench.board.data import Board, Row
    from unlearnbench.board.gallery import Picture
    from unlearnbench.board.losses import EditLoss

_COLOURS: Final = 8
_TEMPLATES: Final = "templates"


@dataclass(frozen=True)
class Shown:
    """One cell of the table: its texts, what it sorts by, and where its interval lies in the column's range."""

    text: str
    interval: str
    order: str
    share: float | None
    lo: float | None
    hi: float | None
    note: str


@dataclass(frozen=True)
class Heat:
    """One coloured cell: a share or a difference in percent, its text and what it is."""

    text: str
    percent: int
    sign: str
    role: str
    title: str


@dataclass(frozen=True)
class GridRow:
    """One prompt of an image grid: a picture for each row of the board, or none."""

    prompt: str
    kind: str
    concept: str
    pictures: list[Picture | None]


@dataclass(frozen=True)
class ImageGrid:
    """The images of one forgotten concept."""

    forget: str
    sensitive: bool
    methods: list[str]
    own: list[GridRow]
    others: list[GridRow]


def to_html(board: Board, pictures: Sequence[Picture] = (), losses: Sequence[EditLoss] = ()) -> str:
    """Return the page.

    Args:
        board: the board.
        pictures: images to show, as `unlearnbench.board.gallery.pictures` returns them.
        losses: curves to show, as `unlearnbench.board.losses.stored_losses` returns them.
    """
    script = asset("board.js")
    colours = _colours(board)
    policy = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment()
        .get_template("board.html")
        .render(
            board=board,
            style=Markup(asset("board.css")),
            script=Markup(script),
            policy=policy,
            text=text,
            grids=grids,
            short=short,
            colours=colours,
            columns=[*board.columns, *board.more],
            table=[(row, [_shown(row, column) for column in (*board.columns, *board.more)]) for row in board.rows],
            curves=plots.curves(),
            points=plots.scatter(board, colours),
            plot=plots,
            differences=_differences(board),
            heat=_heat(board),
            matrices=_matrices(board),
            galleries=_galleries(board, pictures),
            frame=loss_figures,
            panels=loss_figures.panels(board, losses, colours),
            published=[(table, grids.published_grid(table)) for table in board.published],
            slices=[(by, grids.slice_grid(board, by)) for by in ("kind", "prompt-kind")],
        )
    )


def environment() -> Environment:
    """Return what fills templates: all that comes from data is escaped."""
    return Environment(
        loader=PackageLoader("unlearnbench.render", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Whatever comes from data: no control character reaches the page, and the escape of HTML follows this.
        finalize=lambda value: text.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )


def asset(name: str) -> str:
    """Return the text of a file beside the templates."""
    return files("unlearnbench.render").joinpath(_TEMPLATES, name).read_text(encoding="utf-8")


def _colours(board: Board) -> dict[str, int]:
    """Return the number of each row's colour; 0 is that of the controls."""
    methods = sorted(row.method for row in board.rows if not row.control)
    numbers = {method: 1 + i % _COLOURS for i, method in enumerate(methods)}
    return {row.method: numbers.get(row.method, 0) for row in board.rows}


def _shown(row: Row, column: ColumnInfo) -> Shown:
    cell = row.cells[column.name]
    bounded = column.high is not None and cell.value is not None
    return Shown(
        text=text.value_of(cell, column, row.unedited),
        interval=text.interval_of(cell, column),
        order="" if cell.value is None else repr(cell.value),
        share=_percent(cell.value, column) if bounded else None,
        lo=_percent(cell.lo, column) if bounded and cell.lo is not None else None,
        hi=_percent(cell.hi, column) if bounded and cell.hi is not None else None,
        note=cell.note,
    )


def _percent(value: float | None, column: ColumnInfo) -> float | None:
    if value is None or column.high is None:
        return None
    return round(100.0 * (value - column.low) / (column.high - column.low), 1)


def _differences(board: Board) -> list[dict[str, Any]]:
    """Return the paired differences, with their place on an axis from -1 to 1 in percent."""
    return [
        {
            "one": one,
            "value": "n/a" if one.value is None else grids.signed(one.value),
            "bounds": "" if one.lo is None or one.hi is None else f"[{grids.signed(one.lo)}, {grids.signed(one.hi)}]",
            "x": None if one.value is None else round(50.0 + 50.0 * one.value, 1),
            "lo": None if one.lo is None else round(50.0 + 50.0 * one.lo, 1),
            "hi": None if one.hi is None else round(50.0 + 50.0 * one.hi, 1),
            "p": text.p_value(one.p_holm),
            "apart": one.apart(board.level),
        }
        for one in board.differences
    ]


def _heat(board: Board) -> list[tuple[str, list[tuple[str, list[Heat]]]]]:
    """Return for each kind its concepts, and for each of these forget and retain of every row."""
    found = {(one.concept, one.method): one for one in board.by_concept}
    kinds: dict[str, list[tuple[str, list[Heat]]]] = {}
    for concept in board.forget:
        cells = []
        for role in ("forget", "retain"):
            for row in board.rows:
                one = found[concept, row.method]
                cell: Cell = one.forget if role == "forget" else one.retain
                title = f"{row.method}, {concept} forgotten: {role} {_said(cell)}"
                word = text.status_of(one)
                cells.append(_share(cell.value, word or "n/a", role, title))
        kinds.setdefault(found[concept, board.rows[0].method].kind, []).append((concept, cells))
    return list(kinds.items())


def _said(cell: Cell) -> str:
    if cell.value is None:
        return cell.note or "n/a"
    bounds = "" if cell.lo is None or cell.hi is None else f" [{cell.lo:.2f}, {cell.hi:.2f}]"
    return f"{cell.value:.3f}{bounds} of {cell.n_images} images"


def _share(value: float | None, absent: str, role: str, title: str) -> Heat:
    if value is None:
        return Heat(absent, 0, "none", role, title)
    return Heat(text.number(value, "1", 2), round(100 * value), "plus", role, title)


def _matrices(board: Board) -> list[tuple[str, bool, list[tuple[str, list[Heat]]]]]:
    """Return for each method: its name, whether cells are differences from unedited, and its coloured cells."""
    shows = {matrix.method: matrix.shows for matrix in board.matrices}
    base = shows.get(UNEDITED)
    found = []
    for method, own in shows.items():
        if method in BOUNDS and (base is not None or method != UNEDITED):
            continue
        rows = []
        for e, forget in enumerate(board.forget):
            cells = []
            for c, concept in enumerate(board.evaluate):
                value, before = own[e][c], None if base is None else base[e][c]
                title = f"{forget} forgotten, {concept} asked for: "
                if value is None or (base is not None and before is None):
                    cells.append(Heat("", 0, "none", board.roles[e][c], f"{title}no score"))
                elif before is None:
                    title += f"shown in {value:.2f}"
                    cells.append(_share(value, "", board.roles[e][c], title))
                else:
                    step = value - before
                    title += f"shown in {value:.2f}, by the unedited model in {before:.2f}"
                    size = text.number(abs(step), "1", 2)
                    shown = "0" if size == ".00" else f"{'-' if step < 0 else '+'}{size}"
                    sign = "minus" if step < 0 else "plus"
                    cells.append(Heat(shown, round(100 * abs(step)), sign, board.roles[e][c], title))
            rows.append((forget, cells))
        found.append((method, base is not None, rows))
    return found


def _galleries(board: Board, pictures: Sequence[Picture]) -> list[ImageGrid]:
    by_place = {(p.forget, p.prompt_id, p.method): p for p in pictures}
    controls = [row.method for row in board.rows if row.control]
    # The unedited model first: it is what every other column is compared with.
    order = [m for m in controls if m == UNEDITED] + [r.method for r in board.rows if not r.control]
    order += [m for m in controls if m != UNEDITED]
    methods = [m for m in order if any(p.method == m for p in pictures)]
    found = []
    for forget in board.forget:
        own = [p for p in pictures if p.forget == forget]
        # prompt-swap samples other texts; the text of the prompt is that of the others.
        first = {p.prompt_id: p for p in reversed(own) if p.method != PROMPT_SWAP}
        rows = [
            GridRow(p.prompt, p.prompt_id.split("/")[1], p.concept, [by_place.get((forget, i, m)) for m in methods])
            for i, p in sorted(first.items(), key=lambda item: item[0])
        ]
        if rows:
            found.append(
                ImageGrid(
                    forget=forget,
                    sensitive=any(p.sensitive for p in own),
                    methods=methods,
                    own=[row for row in rows if row.concept in members(forget)],
                    others=[row for row in rows if row.concept not in members(forget)],
                )
            )
    return found
