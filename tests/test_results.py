from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.scoretables import fail, score_table, unscore
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.results import table as results
from unlearnbench.results.table import ADDED, SCHEMA, SCHEMA_VERSION, read_scores, validate, write_scores


@pytest.fixture
def scores():
    table = score_table(["unedited", "uce"], ["cat", "dog"], lambda m, e, c, p, s: e != c or p == 0)
    table = unscore(table, (table["method"] == "uce") & (table["prompt_id"] == "cat/direct/1"))
    return fail(table, (table["method"] == "uce") & (table["forget"] == "dog"), "out of memory")


def test_a_table_comes_back_as_it_was_written(scores, tmp_path):
    path = tmp_path / "new folder" / "scores.parquet"
    write_scores(scores, path)
    pd.testing.assert_frame_equal(read_scores([path]), scores)
    assert [entry.name for entry in path.parent.iterdir()] == ["scores.parquet"]
    assert pq.read_schema(path).metadata[b"unlearnbench.scores"] == b"6"
    assert pq.read_schema(path).remove_metadata().equals(SCHEMA)


def test_what_is_unscored_is_missing_and_not_false(scores):
    assert scores["label"].dtype == "boolean"
    assert scores["label"].isna().sum() == scores["p_yes"].isna().sum() > 0


def test_columns_are_put_in_order_and_cast(scores):
    loose = scores[list(reversed(scores.columns))].astype({"label": object, "seed": float, "method": object})
    pd.testing.assert_frame_equal(validate(loose), scores)


def test_a_table_without_any_label_is_valid(scores):
    table = scores.assign(label=None, p_yes=None)
    assert validate(table)["label"].isna().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="role"), "lacks the column role"),
        (lambda t: t.assign(extra=1), "unknown column extra"),
        (lambda t: t.assign(role="erase"), "column role .* unknown value 'erase'"),
        (lambda t: t.assign(p_yes=1.5), r"p_yes .* leaves \[0, 1\]"),
        (lambda t: t.assign(seed="first"), "column seed .* not of type int64"),
        (lambda t: t.assign(method=None), "column method .* empty cells"),
        (lambda t: t.assign(edit_seconds=-1.0), "edit_seconds .* negative values"),
        (lambda t: t.assign(retain_drift=-1.0), "retain_drift .* negative values"),
        (lambda t: t.assign(verdict="fine"), "column verdict .* unknown value 'fine'"),
        (lambda t: t.assign(label=True), "score for an image that failed"),
        (lambda t: t.assign(reason=""), "without a reason"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "two rows for the same image"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(scores, change, message):
    with pytest.raises(ValueError, match=message):
        validate(change(scores))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(scores, tmp_path, monkeypatch):
    path = tmp_path / "scores.parquet"
    write_scores(scores, path)
    before = path.read_bytes()

    def broken(table, stream, **options):
        stream.write(b"PAR1 half a fi")
        raise OSError("no space left on device")

    monkeypatch.setattr(results.pq, "write_table", broken)
    with pytest.raises(OSError, match="no space"):
        write_scores(scores.iloc[:1], path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.parquet"]


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"PAR1 cut off"])
def test_a_file_that_is_no_parquet_is_a_user_error(tmp_path, content):
    path = tmp_path / "scores.parquet"
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged or is no parquet file") as caught:
        read_scores([path])
    assert len(str(caught.value).splitlines()) == 2


def test_a_damaged_file_is_a_user_error(scores, tmp_path):
    path = tmp_path / "scores.parquet"
    write_scores(scores, path)
    content = bytearray(path.read_bytes())
    content[8 : len(content) // 2] = bytes(len(content) // 2 - 8)
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read_scores([path])


def test_a_foreign_table_and_a_newer_one_are_user_errors(scores, tmp_path):
    foreign, newer = tmp_path / "foreign.parquet", tmp_path / "newer.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    with pytest.raises(UserError, match="no scores table of unlearnbench"):
        read_scores([foreign])
    table = pa.Table.from_pandas(scores, schema=SCHEMA, preserve_index=False)
    pq.write_table(table.replace_schema_metadata({"unlearnbench.scores": "99"}), newer)
    with pytest.raises(UserError, match="version 99"):
        read_scores([newer])


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_a_table_of_an_earlier_version_lacks_only_what_was_not_measured_then(scores, tmp_path, version):
    path = tmp_path / "scores.parquet"
    later = [name for added in range(version + 1, SCHEMA_VERSION + 1) for name in ADDED[added]]
    first = pa.Table.from_pandas(scores, schema=SCHEMA, preserve_index=False).drop(later)
    pq.write_table(first.replace_schema_metadata({"unlearnbench.scores": str(version)}), path)
    expected = scores.copy()
    expected[later] = None
    pd.testing.assert_frame_equal(read_scores([path]), validate(expected))


def test_a_missing_file_is_a_missing_prerequisite(tmp_path):
    with pytest.raises(PrerequisiteError, match=r"no scores at .*gone\.parquet"):
        read_scores([tmp_path / "gone.parquet"])
    with pytest.raises(UserError, match="no scores table was named"):
        read_scores([])


def test_files_are_joined_and_a_score_wins_over_a_failure(scores, tmp_path):
    complete = score_table(["unedited", "uce"], ["cat", "dog"], lambda m, e, c, p, s: e != c or p == 0)
    paths = [tmp_path / "complete.parquet", tmp_path / "scores.parquet"]
    write_scores(complete, paths[0])
    write_scores(scores, paths[1])
    for order in (paths, paths[::-1]):
        joined = read_scores(order)
        assert len(joined) == len(complete)
        assert (joined["status"] == "ok").all()


def test_two_edits_under_one_label_are_refused(scores, tmp_path):
    paths = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    other = scores.assign(edit_key=scores["edit_key"].where(scores["edit_key"] == "", "ub1:other"))
    for table, path in zip((scores, other), paths, strict=True):
        write_scores(table, path)
    with pytest.raises(UserError, match="different edits under the one label 'uce'"):
        read_scores(paths)


def test_times_of_controls_are_missing(scores):
    assert np.isnan(scores.loc[scores["method"] == "unedited", "edit_seconds"]).all()
