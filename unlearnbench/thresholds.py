"""Thresholds of a judge by concept, as `unlearnbench calibrate --thresholds FILE` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from unlearnbench.dataset import ConceptId


def _read(value: Any) -> Any:
    """Read a file where a path is given, so that parameters, and with them keys, hold what it says."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(Path(value).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {value}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{value} is no JSON: {error}") from error


_Given = dict[ConceptId, Annotated[float, Field(gt=0.0, lt=1.0)]]
Thresholds = Annotated[_Given, BeforeValidator(_read, json_schema_input_type=_Given | str)]
"""Concept -> probability from which on the answer is yes; may be given as the path of a JSON file."""
