"""A board as json: everything it holds, versioned by its `schema`; a missing number is null."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearnbench.board import Board


def to_json(board: Board) -> str:
    """Return the board as json; `Board.model_validate_json` reads it back."""
    return board.model_dump_json(by_alias=True, indent=2) + "\n"
