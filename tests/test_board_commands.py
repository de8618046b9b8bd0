"""The commands that show, compare, gate and merge stored scores: they need no model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.scoretables import fail, random_decide, score_table
from unlearnbench.board.data import Board
from unlearnbench.results.table import read_scores, write_scores
from unlearnbench.store import Store

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PROTOCOL = "ub1:" + "0" * 64
METHODS = ("unedited", "prompt-swap", "uce", "esd")
CONCEPTS = [f"c{i}" for i in range(9)]


def table_of(methods=METHODS, concepts=CONCEPTS, seed=1):
    still = {"unedited": 0.9, "prompt-swap": 0.0, "uce": 0.2, "esd": 0.5}
    return score_table(methods, concepts, random_decide(seed, still, dict.fromkeys(still, 0.8)))


def put(root, scores, *, code="1", written=1.0, **suite):
    """Write scores as `unlearnbench run` does: one table a row, and what the rows share."""
    folder = root / "v1" / "results" / ("0" * 16)
    folder.mkdir(parents=True, exist_ok=True)
    methods = sorted(scores["method"].unique())
    for method in methods:
        write_scores(scores[scores["method"] == method], folder / f"{method}@0.parquet")
    judge = {"name": "clip", "params": {"threshold": 0.5}, "origin": {"distribution": "a-judge", "version": "1"}}
    sampler = {"scheduler": "ddim", "steps": 20, "guidance": 4.0}
    content = {
        "protocol": PROTOCOL,
        "fields": {"model": "ub1:" + "a" * 64, "dtype": "float32", "sampler": sampler, "judge": judge},
        "suite": {
            "name": "tiny", "title": "Tiny", "version": 1, "model": {"id": "tiny-sd", "revision": None},
            "dataset": "letters", "forget": CONCEPTS, "seeds": [0, 1], "columns": ["forget", "retain", "harmonic_mean"],
            **suite,
        },
        "rows": {method: f"{method}{code}" for method in methods},
        "written": written,
    }  # fmt: skip
    (folder / "protocol.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def store(tmp_path):
    put(tmp_path / "s", table_of())
    return tmp_path / "s"


# ---------------------------------------------------------------- leaderboard
def test_every_view_in_every_format(call, store):
    for form in ("rich", "md", "latex", "csv", "json", "html"):
        for by in ("method", "concept", "kind", "prompt-kind") if form != "json" else ("method",):
            code, out, err = call("leaderboard", "tiny", "--by", by, "-f", form, "--store", store)
            assert (code, err) == (0, "")
            assert "uce" in out
            assert by != "prompt-kind" or "indirect" in out


def test_published_tables_stand_apart_in_every_format(call, store):
    for form in ("rich", "md", "latex", "csv", "html"):
        _, out, _ = call("leaderboard", "tiny", "-f", form, "--published", "seed-2025", "--store", store)
        assert "AlphaEdit" in out
        assert "not ranked" in out or form == "csv"
    _, out, _ = call("leaderboard", "tiny", "-f", "json", "--published", "seed-2025", "--store", store)
    board = Board.model_validate_json(out)
    assert [one.name for one in board.published] == ["seed-2025"]
    assert "AlphaEdit" not in {row.method for row in board.rows}


def test_scores_of_another_version_are_shown_with_the_columns_that_are_known(call, tmp_path):
    put(tmp_path / "s", table_of(), columns=["retain", "sparkle", "forget"], rank_by="sparkle", glitter=True)
    _, out, _ = call("leaderboard", "tiny", "-f", "json", "--store", tmp_path / "s")
    board = Board.model_validate_json(out)
    assert [column.name for column in board.columns] == ["retain", "forget"]
    assert board.rank_by == "harmonic_mean"


def test_the_suite_ranks_by_the_column_it_names(call, tmp_path):
    put(tmp_path / "s", table_of(), rank_by="retain")
    _, out, _ = call("leaderboard", "tiny", "-f", "json", "--store", tmp_path / "s")
    values = [row.cells["retain"].value for row in Board.model_validate_json(out).rows if not row.control]
    assert values == sorted(values, reverse=True)


def test_the_board_of_the_documentation_follows_from_the_checked_in_scores(call, tmp_path):
    page = (ROOT / "docs" / "explanation" / "a-board.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- board: emoji-quick -->\n```text\n(.*?)```", page, re.DOTALL)[1]
    assert call("merge", ROOT / "benchmarks" / "results" / "emoji-quick", "--store", tmp_path / "s")[0] == 0
    code, out, _ = call("leaderboard", "emoji-quick", "--store", tmp_path / "s")
    assert code == 0
    assert [line.rstrip() for line in out.splitlines()] == shown.splitlines()


@pytest.mark.parametrize("folder", sorted(p.parent for p in RESULTS.glob("*/protocol.json")), ids=lambda p: p.name)
@pytest.mark.parametrize("form", ["md", "json"])
def test_checked_in_boards_follow_from_their_scores(call, tmp_path, folder, form):
    assert call("merge", folder, "--store", tmp_path / "s")[0] == 0
    suite = json.loads((folder / "protocol.json").read_text(encoding="utf-8"))["suite"]["name"]
    code, out, _ = call("leaderboard", suite, "-f", form, "--store", tmp_path / "s")
    assert code == 0
    assert out == (folder / f"board.{form}").read_text(encoding="utf-8")


def test_the_checked_in_agreement_of_the_judges_follows_from_their_scores(call, tmp_path):
    for name in ("emoji-quick", "emoji-quick-llava"):
        assert call("merge", RESULTS / name, "--store", tmp_path / "s")[0] == 0
    code, out, _ = call("agreement", "emoji-quick", "-f", "md", "--store", tmp_path / "s")
    assert code == 0
    assert out == (RESULTS / "emoji-quick-llava" / "agreement.md").read_text(encoding="utf-8")


# ---------------------------------------------------------------- compare
def test_compare_shows_paired_differences(call, store):
    code, out, _ = call("compare", "uce", "esd", "tiny", "-f", "json", "--store", store)
    assert code == 0
    forget = next(one for one in json.loads(out) if one["column"] == "forget")
    scores = table_of()
    own = scores[scores["role"] == "forget"].assign(label=lambda t: t["label"].astype(float))
    rate = 1 - own.groupby(["method", "forget"])["label"].mean()
    step = rate["uce"] - rate["esd"]
    assert forget["value"] == pytest.approx(step.mean())
    assert (forget["wins"], forget["ties"], forget["losses"]) == ((step > 0).sum(), (step == 0).sum(), (step < 0).sum())
    assert forget["lo"] < forget["value"] < forget["hi"]
    assert 0 < forget["p"] < 1
    _, back, _ = call("compare", "esd", "uce", "tiny", "-f", "json", "--store", store)
    mirrored = next(one for one in json.loads(back) if one["column"] == "forget")
    assert mirrored["value"] == pytest.approx(-forget["value"])
    assert mirrored["p"] == pytest.approx(forget["p"])
    _, out, _ = call("compare", "uce", "unedited", "tiny", "--store", store)
    assert "win/tie/loss" in out
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "| harmonic mean |" in call("compare", "uce", "esd", "tiny", "-f", "md", "--store", store)[1]


def test_one_concept_gives_no_interval_and_no_test(call, tmp_path):
    scores = table_of()
    put(tmp_path / "s", scores[scores["forget"] == "c0"])
    _, out, _ = call("compare", "uce", "esd", "tiny", "-f", "json", "--store", tmp_path / "s")
    for one in json.loads(out):
        assert (one["lo"], one["hi"], one["p"], one["interval"]) == (None, None, None, "none")


def test_concepts_that_only_one_was_scored_on_are_not_compared(call, tmp_path):
    scores = table_of()
    lost = (scores["method"] == "esd") & (scores["forget"] == "c3")
    put(tmp_path / "s", fail(scores, lost, "crash"))
    _, out, _ = call("compare", "uce", "esd", "tiny", "-f", "json", "--store", tmp_path / "s")
    found = {one["column"]: one for one in json.loads(out)}
    assert found["forget"]["n_concepts"] == 8
    assert "harmonic_mean" not in found  # a mean of other concepts is another quantity


# ---------------------------------------------------------------- gate
def test_gate_fails_only_beyond_the_limit(call, store, tmp_path):
    file = tmp_path / "baseline.json"
    assert call("leaderboard", "tiny", "-f", "json", "-o", file, "--store", store)[0] == 0
    gate = ("gate", "esd", "tiny", "--store", store, "--baseline")
    code, out, _ = call(*gate, file, "--max-drop", "0")
    assert code == 0
    assert "passed" in out
    value = {row.method: row.cells["forget"].value for row in Board.model_validate_json(file.read_text()).rows}
    drop = value["uce"] - value["esd"]
    assert drop > 0
    assert call(*gate, "uce", "--column", "forget", "--max-drop", drop + 1e-6)[0] == 0
    code, out, _ = call(*gate, "uce", "--column", "forget", "--max-drop", drop - 1e-6)
    assert code == 1
    assert "failed" in out
    assert call("gate", "uce", "tiny", "--store", store, "--baseline", "esd", "--max-drop", "0")[0] == 0
    code, out, _ = call(*gate, "uce", "--column", "edit_seconds", "--max-drop", "0")
    assert code == 0  # the same time: lower would be better


def test_gate_fails_where_scores_are_missing(call, tmp_path, store):
    file = tmp_path / "baseline.json"
    call("leaderboard", "tiny", "-f", "json", "-o", file, "--store", store)
    scores = table_of()
    put(tmp_path / "t", fail(scores, (scores["method"] == "esd") & (scores["forget"] == "c3"), "crash"))
    code, out, _ = call("gate", "esd", "tiny", "--store", tmp_path / "t", "--baseline", file, "--max-drop", "1")
    assert code == 1
    assert "esd lacks scores" in out
    assert "crash" in out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("gate esdd tiny --baseline uce --max-drop 0", "unknown row 'esdd'"),
        ("gate esd tiny --baseline ucee --max-drop 0", "unknown row 'ucee'"),
        ("gate esd tiny --baseline {broken} --max-drop 0", "no board of this version"),
        ("gate esd tiny --baseline {other} --max-drop 0", "measured under protocol"),
        ("gate esd tiny --baseline unedited --column edit_seconds --max-drop 0", "baseline has no value"),
        ("gate esd tiny --baseline uce --max-drop -1", "--max-drop"),
        ("compare esd ucee tiny", "unknown row 'ucee'"),
        ("leaderboard tiny --published seed-2024", "unknown published table 'seed-2024'"),
        ("published seed-2024", "unknown published table 'seed-2024'"),
        ("merge {tmp}", "is no store"),
    ],
)
def test_mistakes_are_two_lines(call, store, tmp_path, arguments, what):
    broken, other = tmp_path / "broken.json", tmp_path / "other.json"
    broken.write_text('{"schema": "unlearnbench.board/1"}')
    call("leaderboard", "tiny", "-f", "json", "-o", other, "--store", store)
    other.write_text(other.read_text().replace(PROTOCOL, "ub1:" + "9" * 64))
    where = [] if arguments.startswith("published") else ["--store", store]
    words = arguments.format(broken=broken, other=other, tmp=tmp_path).split()
    code, out, err = call(*words, *where)
    assert (code, out) == (2, "")
    assert what in err
    assert len(err.strip().splitlines()) == 2


# ---------------------------------------------------------------- published
def test_published_lists_and_prints_every_table(call):
    code, listing, _ = call("published")
    assert code == 0
    assert "seed-2025" in listing
    code, out, _ = call("published", "seed-2025")
    assert code == 0
    for line, values in {"unedited": ".313", "UCE": ".480", "ESD": ".504", "AlphaEdit": ".642"}.items():
        assert next(row for row in out.splitlines() if row.startswith(line)).endswith(values)
    for one in json.loads(call("published", "-f", "json")[1]):
        for form in ("rich", "md", "csv", "json"):
            code, out, _ = call("published", one["name"], "--whole", "-f", form)
            assert code == 0
            assert max(len(line) for line in out.splitlines()) <= 80 or form != "rich"


def test_published_writes_a_file(call, tmp_path):
    assert call("published", "uce-coco", "-f", "csv", "-o", tmp_path / "t.csv")[0] == 0
    assert (tmp_path / "t.csv").read_text().startswith("method,case,fid_real")


# ---------------------------------------------------------------- merge
def test_stores_of_two_machines_make_one_board(call, tmp_path):
    put(tmp_path / "one", table_of(("unedited", "prompt-swap", "uce")))
    put(tmp_path / "two", table_of(("unedited", "prompt-swap", "esd")), written=2.0)
    for source, key in (("one", "ub1:aa11"), ("two", "ub1:bb22")):
        store = Store(tmp_path / source)
        store.prepare()
        with store.create("sample", key) as folder:
            (folder / "000-0.png").write_bytes(key.encode())
    both = tmp_path / "both"
    code, _, err = call("merge", tmp_path / "one", tmp_path / "two", "--store", both)
    assert code == 0
    assert "2 entries added, 0 were there; 6 rows merged" in err
    _, out, _ = call("leaderboard", "tiny", "-f", "json", "--store", both)
    merged = Board.model_validate_json(out)
    assert {row.method for row in merged.rows} == set(METHODS)
    put(tmp_path / "all", table_of())
    _, out, _ = call("leaderboard", "tiny", "-f", "json", "--store", tmp_path / "all")
    assert merged == Board.model_validate_json(out)
    assert list(Store(both).verify()) == []
    code, _, err = call("merge", tmp_path / "one", "--store", both)
    assert "0 entries added, 1 were there" in err


def test_a_results_folder_or_one_table_can_be_merged(call, tmp_path):
    folder = put(tmp_path / "one", table_of())
    assert call("merge", folder, "--store", tmp_path / "a")[0] == 0
    assert call("merge", folder / "uce@0.parquet", "--store", tmp_path / "b")[0] == 0
    assert sorted(p.name for p in tmp_path.glob("b/v1/results/*/*.parquet")) == ["uce@0.parquet"]
    assert len(list(tmp_path.glob("a/v1/results/*/*.parquet"))) == 4


def test_concepts_that_two_machines_shared_out_are_joined(call, tmp_path):
    scores = table_of()
    first, second = scores["forget"] < "c4", scores["forget"] >= "c4"
    put(tmp_path / "one", scores[first])
    put(tmp_path / "two", scores[second])
    call("merge", tmp_path / "one", tmp_path / "two", "--store", tmp_path / "both")
    joined = read_scores(sorted(tmp_path.glob("both/v1/results/*/uce@0.parquet")))
    assert sorted(joined["forget"].unique()) == CONCEPTS


def test_two_kinds_of_code_under_one_label_are_refused_and_nothing_is_written(call, tmp_path):
    put(tmp_path / "one", table_of())
    put(tmp_path / "two", table_of(), code="2")
    code, _, err = call("merge", tmp_path / "one", tmp_path / "two", "--store", tmp_path / "both")
    assert code == 2
    assert "other code or parameters" in err
    assert not (tmp_path / "both").exists()
    assert call("merge", tmp_path / "one", "--store", tmp_path / "both")[0] == 0
    before = {p: p.read_bytes() for p in (tmp_path / "both").rglob("*.parquet")}
    assert call("merge", tmp_path / "two", "--store", tmp_path / "both")[0] == 2
    assert {p: p.read_bytes() for p in (tmp_path / "both").rglob("*.parquet")} == before


def test_damaged_entries_are_left_behind_and_named(call, tmp_path):
    store = Store(put(tmp_path / "one", table_of()).parents[2])
    store.prepare()
    for key in ("ub1:aa11", "ub1:bb22"):
        with store.create("sample", key) as folder:
            (folder / "000-0.png").write_bytes(b"image")
    (store.folder("sample", "ub1:bb22") / "000-0.png").write_bytes(b"other")
    code, _, err = call("merge", tmp_path / "one", "--store", tmp_path / "both")
    assert code == 1
    assert "damaged: ub1:bb22" in err
    assert [entry.key for entry in Store(tmp_path / "both").ls()] == ["ub1:aa11"]


def test_a_source_that_is_not_there_is_a_missing_prerequisite(call, tmp_path):
    assert call("merge", tmp_path / "none", "--store", tmp_path / "both")[0] == 3
