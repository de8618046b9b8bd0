"""What is tried for each method, read from a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from unlearnbench.api import Frozen
from unlearnbench.errors import UserError
from unlearnbench.suites import explain

SETTINGS = Path(__file__).with_name("settings.toml")
MOST = 12  # settings of one method: every method gets the same small budget

Setting = dict[str, Any]


class Tuning(Frozen):
    """The settings of every method, and the rule that chooses among them."""

    suite: str = Field(min_length=1, description="name or file of the suite that settings are compared on")
    tie: float = Field(ge=0.0, le=1.0, description="harmonic means this close to the highest are equally good")
    seconds: float = Field(gt=0.0, description="what an edit of the chosen setting may take, median over concepts")
    settings: dict[str, Annotated[tuple[Setting, ...], Field(min_length=1, max_length=MOST)]] = Field(
        min_length=1, description="method -> parameters that differ from its defaults, one table a setting"
    )


def read_tuning(path: Path) -> Tuning:
    """Read a file of settings.

    Raises:
        UserError: the file cannot be read, is no TOML, or does not fit.
    """
    try:
        return Tuning.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"settings {path}: {error.strerror}", "name a file with --settings") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"settings {path} are no TOML: {error}", "mend that line and run again") from error
    except ValidationError as error:
        raise UserError(f"settings {path}: {explain(error, Tuning.model_fields)}", "mend it and run again") from error
