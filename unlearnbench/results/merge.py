"""Bring the results of several machines into one store: entries by key, rows of boards by protocol and label."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unlearnbench.atomic import replace_text
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.results.publish import PROTOCOL
from unlearnbench.results.table import read_scores, write_scores
from unlearnbench.store import MANIFEST, Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass
class Merged:
    """What a merge did.

    Attributes:
        entries: edits, images and scores that the store lacked.
        known: those that it had.
        damaged: keys of entries that were left behind, since their files are not what was written.
        rows: tables of rows that were added or completed.
    """

    entries: int = 0
    known: int = 0
    damaged: list[str] = field(default_factory=list)
    rows: int = 0


def merge(sources: Sequence[Path], store: Store) -> Merged:
    """Add everything of some sources to a store; a source is only read.

    Args:
        sources: stores, folders of one protocol's results (with protocol.json), or score tables in such folders.
        store: the store that grows.

    Raises:
        PrerequisiteError: a source does not exist, or the store cannot be written.
        UserError: a source is nothing of the kind, or two machines hold different edits under one label; nothing is
            written then.
    """
    tables = [(folder, files) for source in sources for folder, files in _results(source)]
    rows = _check(tables, store)
    store.prepare()
    done = Merged()
    for source in sources:
        if (source / "v1").is_dir():
            _entries(Store(source), store, done)
    for folder, files in tables:
        content = _content(folder)
        target = store.results(content["protocol"])
        target.mkdir(parents=True, exist_ok=True)
        for file in files:
            own = target / file.name
            write_scores(read_scores([own, file] if own.exists() else [file]), own)
            done.rows += 1
        before = _content(target) if (target / PROTOCOL).exists() else content
        merged = {**content, "rows": rows[content["protocol"]], "written": max(before["written"], content["written"])}
        replace_text(target / PROTOCOL, json.dumps(merged, indent=1, sort_keys=True))
    return done


def _results(source: Path) -> list[tuple[Path, list[Path]]]:
    """Return the results of a source: (folder with protocol.json, tables)."""
    if not source.exists():
        raise PrerequisiteError(f"there is nothing at {source}", "name a store, a results folder or a scores table")
    if source.is_file() and (source.parent / PROTOCOL).is_file():
        return [(source.parent, [source])]
    if (source / PROTOCOL).is_file():
        return [(source, sorted(source.glob("*.parquet")))]
    if (source / "v1").is_dir():
        folders = sorted(path.parent for path in (source / "v1" / "results").glob(f"*/{PROTOCOL}"))
        return [(folder, sorted(folder.glob("*.parquet"))) for folder in folders]
    raise UserError(
        f"{source} is no store, and no results folder with its {PROTOCOL}",
        "name the folder of a store, or v1/results/<protocol> of one",
    )


def _check(tables: Sequence[tuple[Path, list[Path]]], store: Store) -> dict[str, dict[str, str]]:
    """Return for each protocol what stands behind each row label, unless two sources disagree."""
    known: dict[str, dict[str, str]] = {}
    paths: dict[tuple[str, str], list[Path]] = {}
    targets = dict.fromkeys(store.results(_content(folder)["protocol"]) for folder, _ in tables)
    for folder, files in [*((t, sorted(t.glob("*.parquet"))) for t in targets if (t / PROTOCOL).exists()), *tables]:
        content = _content(folder)
        protocol = content["protocol"]
        rows = known.setdefault(protocol, {})
        labels = {str(label) for file in files for label in read_scores([file])["method"].unique()}
        for label in sorted(labels & set(content["rows"])):
            if rows.setdefault(label, content["rows"][label]) != content["rows"][label]:
                raise UserError(
                    f"'{label}' of {folder} was made by other code or parameters than the row of that name before it",
                    "run that row anew on one of the machines, or merge into another store",
                )
        for file in files:
            paths.setdefault((protocol, file.name), []).append(file)
    for same in paths.values():
        read_scores(same)  # raises where one label holds different edits
    return known


def _content(folder: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((folder / PROTOCOL).read_text(encoding="utf-8"))
        _ = content["protocol"], content["rows"], content["written"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"results {folder} are damaged: {error}", "leave that folder out, or run again") from error
    return content


def _entries(source: Store, store: Store, done: Merged) -> None:
    """Copy the entries that the store lacks; hash them first, as a copy of damage would look whole."""
    damaged = {damage.key for damage in source.verify()}
    done.damaged += sorted(damaged)
    for entry in source.ls():
        if entry.key in damaged:
            continue
        if store.has(entry.stage, entry.key):
            done.known += 1
            continue
        with store.create(entry.stage, entry.key) as folder:
            if folder is not None:
                shutil.copytree(entry.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
                done.entries += 1
