"""A board as json: everything it holds, versioned by its `schema`; a missing number is null."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearnbench.board.data import Board


def to_json(board: Board) -> str:
    """Return the board as json; `Board.model_validate_json` reads it back."""
    return board.model_dump_json(by_alias=True, indent=2) + "\n"


def json_schema() -> str:
    """Return the JSON schema of `to_json`, as docs/reference/board.schema.json holds it."""
    from unlearnbench.board.data import Board

    return json.dumps(Board.model_json_schema(by_alias=True, mode="serialization"), indent=1, sort_keys=True) + "\n"
