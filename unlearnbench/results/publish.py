"""Put the score tables of a run where `leaderboard` finds them, and find them again."""

from __future__ import annotations

import glob
import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from unlearnbench.atomic import replace_text
from unlearnbench.errors import UserError
from unlearnbench.identity import digest, short
from unlearnbench.results.assemble import assemble
from unlearnbench.results.table import read_scores, write_scores

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from unlearnbench.run.execute import Run
    from unlearnbench.run.plan import Plan
    from unlearnbench.spec import Suite
    from unlearnbench.store import Store

PROTOCOL = "protocol.json"


class StoredModel(BaseModel):
    """The model of a stored suite, as it was given."""

    model_config = ConfigDict(frozen=True)

    id: str


class StoredRetained(BaseModel):
    """How much was sampled of what is retained, where that is less than everything."""

    model_config = ConfigDict(frozen=True)

    prompts: tuple[str, ...] = ()
    seed: int | None = None


class StoredSuite(BaseModel):
    """What a board needs of the suite that its scores were made with.

    Other fields are ignored, so that the scores of an earlier or a later version can be shown.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    version: int
    model: StoredModel
    dataset: str
    forget: tuple[str, ...]
    seeds: tuple[int, ...]
    retain: StoredRetained = StoredRetained()
    columns: tuple[str, ...]
    rank_by: str = "harmonic_mean"
    sensitive: tuple[str, ...] = ()
    presets: dict[str, dict[str, Any]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """The score tables of one protocol.

    `fields` is what the rows share; `model` is the name of the model as it was given; `written` is in seconds of the
    epoch.
    """

    folder: Path
    suite: StoredSuite
    protocol: str
    fields: dict[str, Any]
    written: float

    def scores(self) -> pd.DataFrame:
        """Return the tidy table of all rows."""
        return read_scores(sorted(self.folder.glob("*.parquet")))


def publish(plan: Plan, run: Run, store: Store, suite: Suite) -> Results:
    """Write one tidy table for each row label and method seed; a row that was run again replaces the one before."""
    folder = store.results(plan.protocol)
    folder.mkdir(parents=True, exist_ok=True)
    known = json.loads((folder / PROTOCOL).read_text(encoding="utf-8"))["rows"] if (folder / PROTOCOL).exists() else {}
    rows = {label: _identity(plan, label) for label in plan.methods}
    for label, table in assemble(plan, run, store).items():
        name = _file_name(label)
        if known.get(label) != rows[label]:
            # Other code or parameters under the same label: its tables of other method seeds must not be pooled.
            for old in folder.glob(f"{glob.escape(name)}@*.parquet"):
                old.unlink()
        write_scores(table, folder / f"{name}@{plan.methods[label][1]}.parquet")
    fields = {
        "protocol": plan.protocol,
        "fields": plan.protocol_fields,
        "suite": suite.model_dump(mode="json"),
        "rows": {**known, **rows},
        "written": time.time(),
    }
    replace_text(folder / PROTOCOL, json.dumps(fields, indent=1, sort_keys=True))
    return _read(folder)


def stored_results(store: Store, suite: str | None, *, protocol: str | None = None) -> list[Results]:
    """Return the stored protocols of a suite, latest first.

    Args:
        store: the store.
        suite: name of a suite; None = all.
        protocol: the first digits of a protocol's digest; None = all.

    Raises:
        UserError: a protocol file is damaged.
    """
    found = [_read(path.parent) for path in sorted((store.base / "results").glob(f"*/{PROTOCOL}"))]
    wanted = [
        p for p in found
        if (suite is None or p.suite.name == suite) and (protocol is None or short(p.protocol).startswith(protocol))
    ]  # fmt: skip
    return sorted(wanted, key=lambda p: -p.written)


def _read(folder: Path) -> Results:
    try:
        content = json.loads((folder / PROTOCOL).read_text(encoding="utf-8"))
        suite = StoredSuite.model_validate(content["suite"])
        return Results(folder, suite, content["protocol"], content["fields"], content["written"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"results {folder} are damaged: {error}".splitlines()[0], "remove that folder and run again"
        ) from error


def _identity(plan: Plan, label: str) -> str:
    """Return the digest of the code and the parameters behind a row; its method seed is no part of it."""
    edits = [plan.edits[cell.edit] for cell in plan.cells if cell.method == label and cell.edit is not None]
    made = [{"method": t.method, "origin": t.origin.model_dump(), "params": t.params} for t in edits[:1]]
    read = [{"reads": t.reads} for t in edits[:1] if t.reads]  # such as the code of another method that a control runs
    return digest([*made, *read])


def _file_name(label: str) -> str:
    """Return a file name for a row label; distinct labels get distinct names."""
    plain = re.sub(r"[^a-z0-9.-]+", "_", label.lower()).strip("_")[:60]
    return plain if plain == label else f"{plain}-{digest(label)[-8:]}"
