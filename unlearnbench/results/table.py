"""The scores table: one row per image, judge and asked concept. Every number on a board is a function of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from unlearnbench.api import SetMetric
from unlearnbench.atomic import replace_file
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.verdict import Word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from unlearnbench.spec import Column

SCHEMA_VERSION: Final = 6
CONTROL: Final = "control"  # the family of controls; that of a method is its distribution
SET_METRICS: Final[tuple[SetMetric, ...]] = get_args(SetMetric)
CAPTION_METRICS: Final[Mapping[Column, SetMetric]] = {
    "caption_clip_score": "clip_score", "caption_kid": "kid", "caption_fid": "fid", "caption_ssim": "drift_ssim",
    "caption_lpips": "lpips",
}  # fmt: skip
CAPTIONS: Final = (*CAPTION_METRICS, "caption_images", "caption_unscored")
_FOOTER: Final = b"unlearnbench.scores"
_TEXT, _COUNT, _NUMBER, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
SCHEMA: Final = pa.schema(
    [
        pa.field("suite", _TEXT, nullable=False),
        pa.field("protocol", _TEXT, nullable=False),  # digest of all that the methods of a board have in common
        pa.field("method", _TEXT, nullable=False),  # row label on the board
        pa.field("plugin", _TEXT, nullable=False),  # name of the method plugin, or of the control
        pa.field("family", _TEXT, nullable=False),
        pa.field("method_seed", _COUNT, nullable=False),
        pa.field("forget", _TEXT, nullable=False),  # the concept that the edit forgets
        pa.field("concept", _TEXT, nullable=False),  # the concept that the prompt is of and the judge is asked for
        pa.field("kind", _TEXT, nullable=False),
        pa.field("role", _TEXT, nullable=False),
        pa.field("neighbour", _FLAG, nullable=False),
        pa.field("prompt_id", _TEXT, nullable=False),
        pa.field("prompt_kind", _TEXT, nullable=False),
        pa.field("prompt", _TEXT, nullable=False),  # the text that was sampled
        pa.field("seed", _COUNT, nullable=False),  # sampling seed
        pa.field("p_yes", _NUMBER),  # null: the judge gives no probability
        pa.field("label", _FLAG),  # null: unscored
        pa.field("answer", _TEXT, nullable=False),
        pa.field("attribute", _TEXT),  # null: none was seen, or the judge was asked for none
        pa.field("desired", _NUMBER),  # its desired share within the concept
        pa.field("distance", _NUMBER),  # to the nearest training image of the concept; null: the judge was not asked
        # What a set evaluator found; null: there is none, or it gave no value. A value of the set stands at each image.
        *(pa.field(name, _NUMBER) for name in SET_METRICS),
        pa.field("set_key", _TEXT),  # null: there is no set evaluator
        pa.field("judge", _TEXT, nullable=False),
        pa.field("judge_fingerprint", _TEXT, nullable=False),
        pa.field("edit_key", _TEXT, nullable=False),
        pa.field("sample_key", _TEXT, nullable=False),
        pa.field("score_key", _TEXT, nullable=False),
        pa.field("edit_seconds", _NUMBER),  # null: no edit was made, as for the unedited model
        pa.field("peak_mem_mb", _NUMBER),  # null: as above, or it was not measured
        pa.field("weights_changed", _NUMBER),  # null: no edit was made
        pa.field("target_residual", _NUMBER),  # null: as above, or there is no prompt to measure it by
        pa.field("retain_drift", _NUMBER),
        pa.field("nullspace_leakage", _NUMBER),
        pa.field("change_norm", _NUMBER),
        pa.field("change_rank", _NUMBER),
        pa.field("share_changed", _NUMBER),
        # What a set evaluator found on captions, the same at each image of an edit; null: as for its other columns.
        *(pa.field(name, _NUMBER) for name in CAPTIONS),
        pa.field("verdict", _TEXT),  # null: no edit was made, or it was made before there were verdicts
        pa.field("verdict_reason", _TEXT),
        pa.field("status", _TEXT, nullable=False),
        pa.field("reason", _TEXT, nullable=False),  # why the row is not "ok"
    ]
)
ROW_KEY: Final = [
    "suite", "protocol", "method", "method_seed", "forget", "concept", "prompt_id", "seed", "judge",
]  # fmt: skip
EFFECTS: Final = (
    "target_residual", "retain_drift", "nullspace_leakage", "change_norm", "change_rank", "share_changed",
)  # fmt: skip
PER_EDIT: Final = ("edit_seconds", "peak_mem_mb", "weights_changed", *EFFECTS)
ADDED: Final = {  # version -> columns that it added, all nullable
    2: ("peak_mem_mb", "weights_changed"),
    3: (*EFFECTS, "verdict", "verdict_reason"),
    4: ("attribute", "desired", "distance"),
    5: (*SET_METRICS, "set_key"),
    6: CAPTIONS,
}
_VALUES: Final[Mapping[str, frozenset[str]]] = {
    "kind": frozenset({"object", "style", "scene", "action"}),
    "role": frozenset({"forget", "retain", "overlap"}),
    "prompt_kind": frozenset({"direct", "indirect", "adversarial", "general"}),
    "status": frozenset({"ok", "failed", "skipped"}),
}


def validate(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores table with the columns, the order and the types of `SCHEMA`.

    Args:
        scores: one row per image, judge and asked concept; any order of columns, any types that can be cast.

    Raises:
        ValueError: a column is missing or unknown, a value is outside its range, or two rows have the same `ROW_KEY`.
    """
    if missing := [name for name in SCHEMA.names if name not in scores.columns]:
        raise ValueError(f"the scores table lacks the column {', '.join(missing)}")
    if unknown := [str(name) for name in scores.columns if name not in SCHEMA.names]:
        raise ValueError(f"the scores table has the unknown column {', '.join(unknown)}")
    columns = {}
    for field in SCHEMA:
        column = scores[field.name]
        if not field.nullable and column.isna().any():
            raise ValueError(f"the column {field.name} of the scores table has empty cells")
        try:
            columns[field.name] = column.astype(_dtype(field))
        except (TypeError, ValueError) as error:
            raise ValueError(f"the column {field.name} of the scores table is not of type {field.type}") from error
    table = pd.DataFrame(columns).reset_index(drop=True)
    for name, allowed in _VALUES.items():
        if strange := sorted(set(table[name].unique()) - allowed):
            raise ValueError(f"the column {name} of the scores table has the unknown value {strange[0]!r}")
    if not table["p_yes"].dropna().between(0.0, 1.0).all():
        raise ValueError("the column p_yes of the scores table leaves [0, 1]")
    if strange := sorted(set(table["verdict"].dropna().unique()) - set(get_args(Word))):
        raise ValueError(f"the column verdict of the scores table has the unknown value {strange[0]!r}")
    for name in (*PER_EDIT, "distance"):
        if (table[name] < 0.0).any():
            raise ValueError(f"the column {name} of the scores table has negative values")
    alone = table["attribute"].isna() != table["desired"].isna()
    if alone.any() or not table["desired"].dropna().between(0.0, 1.0).all():
        raise ValueError("the scores table has an attribute without a desired share in [0, 1], or a share without one")
    done = table["status"] == "ok"
    if (table["label"].notna() & ~done).any() or (table["p_yes"].notna() & ~done).any():
        raise ValueError("the scores table has a score for an image that failed or was skipped")
    if ((table["reason"] == "") & ~done).any():
        raise ValueError("the scores table has a failed or skipped row without a reason")
    if table.duplicated(ROW_KEY).any():
        raise ValueError("the scores table has two rows for the same image, judge and concept")
    return table


def write_scores(scores: pd.DataFrame, path: Path) -> None:
    """Write the scores table to a parquet file in one step: the file is complete, or it is not there.

    Raises:
        ValueError: the table is not valid.
        OSError: the file cannot be written.
    """
    table = pa.Table.from_pandas(validate(scores), schema=SCHEMA, preserve_index=False)
    table = table.replace_schema_metadata({_FOOTER: str(SCHEMA_VERSION).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda stream: pq.write_table(table, stream, compression="zstd"))


def read_scores(paths: Iterable[Path]) -> pd.DataFrame:
    """Return the scores of one or more parquet files as one table; a row that several files hold is kept once.

    Where one file holds a failure and another the score of the same image, the score is kept.

    Raises:
        PrerequisiteError: a file does not exist.
        UserError: a file is no scores table or is damaged, or two files hold different edits under one method label.
    """
    tables = [_read(path) for path in paths]
    if not tables:
        raise UserError("no scores table was named", "name the scores.parquet of a run")
    scores = pd.concat(tables, ignore_index=True)
    edits = scores[scores["edit_key"] != ""]
    keys = edits.groupby(["suite", "protocol", "method", "method_seed", "forget"])["edit_key"].nunique()
    if (keys > 1).any():
        method = keys[keys > 1].index[0][2]
        raise UserError(
            f"the scores hold different edits under the one label '{method}'",
            "name one run at a time, or give each variant a label of its own",
        )
    scores = scores.assign(done=scores["status"] == "ok").sort_values("done", kind="stable")
    scores = scores.drop_duplicates(ROW_KEY, keep="last").drop(columns="done").sort_index()
    return validate(scores)


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise PrerequisiteError(f"there are no scores at {path}", "make them with `unlearnbench run`")
    again = "make the file again with `unlearnbench run`"
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is damaged or is no parquet file", again) from error
    version = (table.schema.metadata or {}).get(_FOOTER)
    if version is None:
        raise UserError(f"{path} is a parquet file, but no scores table of unlearnbench", again)
    known = {str(number).encode(): number for number in range(1, SCHEMA_VERSION + 1)}
    if version not in known:
        raise UserError(
            f"{path} has version {version.decode(errors='replace')} of the scores table; this is version "
            f"{SCHEMA_VERSION}",
            f"read it with the unlearnbench that wrote it, or {again}",
        )
    frame = table.to_pandas()
    for number, names in ADDED.items():
        if known[version] < number:
            frame = frame.assign(**dict.fromkeys(names, None))
    try:
        return validate(frame)
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}", again) from error


def _dtype(field: pa.Field) -> str:
    if field.type == pa.bool_():
        return "boolean" if field.nullable else "bool"
    return {pa.string(): "string", pa.int64(): "int64", pa.float64(): "float64"}[field.type]
