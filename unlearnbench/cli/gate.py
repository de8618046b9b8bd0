"""`unlearnbench gate`: fail when a method has become worse, for the continuous integration of its authors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from unlearnbench.cli.leaderboard import find
from unlearnbench.cli.options import open_store, store_option
from unlearnbench.errors import ExitCode, UserError
from unlearnbench.identity import short
from unlearnbench.spec import Column
from unlearnbench.suites import DEFAULT_SUITE

if TYPE_CHECKING:
    from unlearnbench.board.data import Board, Row


@click.command("gate")
@click.argument("method")
@click.argument("suite", default=DEFAULT_SUITE)
@click.option("--baseline", required=True, metavar="FILE|ROW", help="A board as json, or another row of this board.")
@click.option(
    "--max-drop", required=True, type=click.FloatRange(min=0.0), metavar="X",
    help="How much worse the value may be, in the column's unit.",
)  # fmt: skip
@click.option("--column", type=click.Choice(get_args(Column)), help="Column.  [default: the one that ranks]")
@click.option(
    "--protocol", metavar="DIGEST", help="First digits of a protocol digest.  [default: the one that ran last]"
)
@store_option
def gate_command(
    method: str, suite: str, baseline: str, max_drop: float, column: Any, protocol: str | None, store_root: Path | None
) -> int:
    """Exit with 1 if METHOD is worse than its baseline by more than a limit, or lacks scores."""
    results = find(open_store(store_root), suite, protocol)
    from unlearnbench.board.measured import board_of

    board = board_of(results, results.scores())
    column = column or board.rank_by
    now = _row(board, method)
    file = Path(baseline)
    before = _row(_read(file, board), method) if file.is_file() else _row(board, baseline)
    from unlearnbench.board.columns import COLUMNS
    from unlearnbench.render.text import number, remarks

    info = COLUMNS[column]
    old, new = (row.cells[column].value if column in row.cells else None for row in (before, now))
    if old is None:
        raise UserError(f"the baseline has no value for {info.title}", "choose another --column or --baseline")
    if new is None or (now.rank is None and not now.control):
        click.echo(f"{method} lacks scores: " + " ".join(remarks(board.model_copy(update={"rows": (now,)}))))
        return ExitCode.FAILED
    drop = old - new if info.direction == "higher" else new - old
    verdict = "failed" if drop > max_drop + 1e-12 else "passed"
    click.echo(
        f"{method}, {info.title}: {number(new, info.unit)}, baseline {number(old, info.unit)}; "
        f"{'worse' if drop > 0 else 'better'} by {number(abs(drop), info.unit)}, "
        f"allowed {number(max_drop, info.unit)}: {verdict}"
    )
    return ExitCode.FAILED if verdict == "failed" else ExitCode.OK


def _row(board: Board, method: str) -> Row:
    from unlearnbench.plugins import unknown

    for row in board.rows:
        if row.method == method:
            return row
    raise unknown("row", method, [row.method for row in board.rows])


def _read(path: Path, current: Board) -> Board:
    """Read a board as json; refuse one that was measured otherwise."""
    from pydantic import ValidationError

    from unlearnbench.board.data import Board

    again = "write it anew with `unlearnbench leaderboard --format json -o FILE`"
    try:
        board = Board.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", again) from error
    except ValidationError as error:
        raise UserError(f"{path} is no board of this version: {error.errors()[0]['msg']}", again) from error
    if board.protocol != current.protocol:
        raise UserError(
            f"{path} was measured under protocol {short(board.protocol)}, and this board under "
            f"{short(current.protocol)}",
            again,
        )
    return board
