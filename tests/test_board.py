from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.scoretables import fail, random_decide, score_table, unscore
from unlearnbench.board import Board, Identified, make_board
from unlearnbench.cells import COLUMNS
from unlearnbench.errors import UserError
from unlearnbench.stats import harmonic_mean, t_interval, wilson_interval

MODEL = Identified(id="tiny-sd", fingerprint="ub1:" + "a" * 64)
METHODS = ["unedited", "prompt-swap", "good", "middle", "bad"]
STILL = dict(zip(METHODS, [0.95, 0.0, 0.1, 0.4, 0.8], strict=True))
RETAIN = dict(zip(METHODS, [0.9, 0.9, 0.85, 0.8, 0.75], strict=True))
CONCEPTS = [f"c{i}" for i in range(9)]


def board_of(scores, **options) -> Board:
    return make_board(scores, **{"title": "Board", "columns": list(COLUMNS), "model": MODEL, "draws": 200} | options)


def row_of(board: Board, method: str):
    return next(row for row in board.rows if row.method == method)


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return score_table(
        METHODS, CONCEPTS, random_decide(0, STILL, RETAIN), neighbours={"c0": ["c1"], "c1": ["c0", "c2"]}
    )


@pytest.fixture(scope="module")
def board(scores) -> Board:
    return board_of(scores)


def test_methods_are_ranked_by_harmonic_mean_and_controls_stand_below(board):
    assert [(row.method, row.rank, row.control) for row in board.rows] == [
        ("good", 1, False),
        ("middle", 2, False),
        ("bad", 3, False),
        ("prompt-swap", None, True),
        ("unedited", None, True),
    ]


def test_cells_hold_means_and_counts_of_the_table(board, scores):
    own = scores[(scores["method"] == "middle") & (scores["role"] == "forget")]
    cell = row_of(board, "middle").cells["forget"]
    assert cell.value == pytest.approx(1 - own["label"].astype(float).mean())
    assert (cell.n_concepts, cell.n_images, cell.n_unscored, cell.n_failed) == (9, 72, 0, 0)
    assert cell.interval == "bootstrap"
    assert cell.lo < cell.value < cell.hi
    row = row_of(board, "middle").cells
    assert row["harmonic_mean"].value == pytest.approx(float(harmonic_mean(row["forget"].value, row["retain"].value)))
    assert row["harmonic_mean"].n_images == row["forget"].n_images + row["retain"].n_images
    assert row["forget_direct"].n_images == row["forget_indirect"].n_images == 36
    assert (row["neighbour"].n_concepts, row["neighbour"].n_images) == (2, 24)


def test_time_of_an_edit_is_a_median_with_its_range(board):
    cell = row_of(board, "good").cells["edit_seconds"]
    assert (cell.value, cell.lo, cell.hi, cell.interval, cell.n_concepts) == (5.5, 1.5, 9.5, "range", 9)
    control = row_of(board, "unedited").cells["edit_seconds"]
    assert (control.value, control.note) == (None, "there is no edit")


def test_a_method_changes_nothing_in_the_row_of_another(board, scores):
    alone = board_of(scores[scores["method"].isin(["middle", "unedited", "prompt-swap"])])
    assert row_of(alone, "middle").cells == row_of(board, "middle").cells
    assert row_of(alone, "middle").normalised == row_of(board, "middle").normalised


def test_the_same_table_gives_the_same_board(board, scores):
    assert board_of(scores.sample(frac=1.0, random_state=3)) == board


def test_equal_methods_share_a_rank():
    methods = ["a", "b", "worse", "c"]
    table = score_table(methods, CONCEPTS[:3], lambda m, e, c, p, s: p == 0 if e == c else m != "worse" or p > 0)
    assert [(row.method, row.rank) for row in board_of(table).rows] == [("a", 1), ("b", 1), ("c", 1), ("worse", 4)]


def test_methods_that_are_not_told_apart_share_a_letter(board, scores):
    assert row_of(board, "good").group != row_of(board, "bad").group
    twin = scores[scores["method"] == "good"].assign(method="twin", edit_key="")
    rows = {row.method: row for row in board_of(pd.concat([scores, twin])).rows}
    assert rows["good"].group == rows["twin"].group != ""
    few = scores[scores["forget"].isin(CONCEPTS[:5])]
    assert {row.group for row in board_of(few).rows} == {""}


def test_values_relative_to_the_controls(board):
    rows = {row.method: row for row in board.rows}
    forget, retain = ({name: rows[name].cells[column].value for name in METHODS} for column in ("forget", "retain"))
    span = forget["prompt-swap"] - forget["unedited"]
    found = rows["middle"].normalised
    expected = (forget["middle"] - forget["unedited"]) / span
    ratio = retain["middle"] / retain["unedited"]
    assert found["forget_norm"].value == pytest.approx(expected)
    assert found["retain_ratio"].value == pytest.approx(ratio)
    assert found["harmonic_mean_norm"].value == pytest.approx(float(harmonic_mean(expected, min(1.0, ratio))))
    assert found["forget_norm"].lo < expected < found["forget_norm"].hi
    assert rows["unedited"].normalised == {}


def test_no_relative_values_without_both_controls_or_without_a_span(scores):
    assert row_of(board_of(scores[scores["method"] != "prompt-swap"]), "good").normalised == {}
    table = score_table(METHODS[:3], CONCEPTS[:2], lambda m, e, c, p, s: True)
    cell = row_of(board_of(table), "good").normalised["forget_norm"]
    assert (cell.value, cell.note) == (None, "the controls do not span a range")


def test_failed_edits_stay_visible_and_cost_the_rank(scores):
    lost = (scores["method"] == "good") & scores["forget"].isin(["c2", "c5"])
    board = board_of(fail(scores, lost, "CUDA out of memory"))
    assert [row.method for row in board.rows][:3] == ["middle", "bad", "good"]
    row = row_of(board, "good")
    assert row.rank is None
    assert (row.count("failed"), row.count("skipped"), row.edits) == (2, 0, 9)
    assert row.failures[0].concepts == ("c2", "c5")
    assert row.failures[0].reason == "CUDA out of memory"
    cell = row.cells["forget"]
    own = scores[(scores["method"] == "good") & (scores["role"] == "forget") & ~scores["forget"].isin(["c2", "c5"])]
    assert cell.value == pytest.approx(1 - own["label"].astype(float).mean())
    assert (cell.n_concepts, cell.n_images, cell.n_failed) == (7, 56, 16)
    assert row.cells["edit_seconds"].n_concepts == 7
    by_concept = {(one.method, one.concept): one for one in board.by_concept}
    assert by_concept["good", "c2"].status == "failed"
    assert by_concept["good", "c2"].reason == "CUDA out of memory"
    assert by_concept["good", "c3"].status == "ok"


def test_a_method_that_failed_throughout_has_no_value_but_a_reason(scores):
    row = row_of(board_of(fail(scores, scores["method"] == "bad", "needs a text encoder", "skipped")), "bad")
    assert (row.rank, row.count("skipped"), row.count("failed")) == (None, 9, 0)
    for cell in row.cells.values():
        assert (cell.value, cell.lo, cell.hi, cell.n_images, cell.note) == (None, None, None, 0, "needs a text encoder")
    assert row.cells["retain"].n_failed == 576


def test_edits_that_were_never_run_are_told_from_failures(scores):
    row = row_of(board_of(scores[(scores["method"] != "bad") | (scores["forget"] != "c7")]), "bad")
    assert (row.rank, row.not_run, row.failures, row.edits) == (None, ("c7",), (), 8)


def test_unscored_images_are_left_out_and_counted(scores):
    lost = (scores["method"] == "good") & (scores["role"] == "forget") & (scores["seed"] == 1)
    cell = row_of(board_of(unscore(scores, lost)), "good").cells["forget"]
    own = scores[(scores["method"] == "good") & (scores["role"] == "forget") & (scores["seed"] == 0)]
    assert cell.value == pytest.approx(1 - own["label"].astype(float).mean())
    assert (cell.n_images, cell.n_unscored, cell.n_failed) == (36, 36, 0)
    cell = row_of(board_of(unscore(scores, scores["method"] == "good")), "good").cells["forget"]
    assert (cell.value, cell.note) == (None, "the judge gave no answer for any image")


def test_overlapping_concepts_are_not_retained():
    def decide(method, erased, concept, prompt, seed):
        return concept != "wide"

    table = score_table(["a"], ["narrow", "wide", "other"], decide, overlaps={"narrow": ["wide"]}, forget=["narrow"])
    cell = row_of(board_of(table), "a").cells["retain"]
    assert (cell.value, cell.n_images) == (1.0, 8)


def test_one_concept_has_no_interval(scores):
    board = board_of(scores[scores["forget"] == "c0"])
    for row in board.rows:
        assert all(cell.lo is None and cell.hi is None and cell.interval == "none" for cell in row.cells.values())
    assert row_of(board, "good").rank == 1
    assert board.notes[0].startswith("One forgotten concept: no interval over concepts")
    own = scores[(scores["forget"] == "c0") & (scores["concept"] == "c0") & (scores["method"] == "bad")]
    hits = int((~own["label"].astype(bool)).sum())
    cell = next(one.forget for one in board.by_concept if one.method == "bad")
    assert (cell.lo, cell.hi, cell.interval) == (*wilson_interval(hits, 8), "wilson")


def test_few_concepts_have_at_least_students_interval(scores):
    board = board_of(scores[scores["forget"].isin(["c0", "c1", "c2"])])
    rates = [one.forget.value for one in board.by_concept if one.method == "middle"]
    cell = row_of(board, "middle").cells["forget"]
    low, high = t_interval(rates)
    assert cell.interval == "small_sample"
    assert cell.lo <= low
    assert cell.hi >= high
    assert "Student's" in board.notes[0]


def test_agreement_of_all_images_is_no_certainty():
    table = score_table(["a"], CONCEPTS, lambda m, e, c, p, s: e != c)
    cells = row_of(board_of(table), "a").cells
    assert (cells["forget"].value, cells["forget"].interval) == (1.0, "wilson")
    assert (cells["forget"].lo, cells["forget"].hi) == wilson_interval(72, 72)
    assert cells["harmonic_mean"].lo == pytest.approx(float(harmonic_mean(cells["forget"].lo, cells["retain"].lo)))
    table = score_table(["a"], CONCEPTS, lambda m, e, c, p, s: True)
    cells = row_of(board_of(table), "a").cells
    assert (cells["harmonic_mean"].value, cells["harmonic_mean"].lo) == (0.0, 0.0)
    assert 0.0 < cells["harmonic_mean"].hi < 0.2


def test_columns_that_a_suite_cannot_fill_say_so():
    table = score_table(["a"], ["x", "y"], lambda m, e, c, p, s: p == 0, prompts=1)
    cells = row_of(board_of(table), "a").cells
    assert cells["forget_indirect"].note == "the suite has no indirect prompts"
    assert cells["neighbour"].note == "the suite evaluates no neighbour of a forgotten concept"
    alone = row_of(board_of(score_table(["a"], ["x"], lambda m, e, c, p, s: p == 0)), "a").cells
    assert alone["retain"].note == "the suite evaluates no concept besides the forgotten one"
    assert alone["harmonic_mean"].value is None


def test_several_method_seeds_are_pooled():
    def decide(method, erased, concept, prompt, seed):
        return erased != concept or prompt == 0

    table = score_table(["unedited", "a"], CONCEPTS, decide, method_seeds=(0, 1, 2))
    board = board_of(table)
    assert row_of(board, "a").edits == 27
    assert row_of(board, "a").cells["forget"].n_images == 3 * 72
    assert not any("One method seed" in note for note in board.notes)
    lost = (table["method"] == "a") & (table["method_seed"] == 1) & (table["forget"] == "c1")
    row = row_of(board_of(fail(table, lost, "crash")), "a")
    assert (row.rank, row.count("failed"), row.edits) == (1, 1, 27)


def test_the_judge_is_chosen_by_name(scores):
    other = scores.assign(judge="llava", label=~scores["label"], judge_fingerprint="ub1:" + "2" * 64)
    both = pd.concat([scores, other])
    with pytest.raises(UserError, match="several judges: clip, llava"):
        board_of(both)
    with pytest.raises(UserError, match="no answer of the judge 'nudenet'"):
        board_of(both, judge="nudenet")
    clip, llava = (row_of(board_of(both, judge=name), "good").cells["forget"].value for name in ("clip", "llava"))
    assert clip == pytest.approx(1 - llava)
    assert board_of(both, judge="llava").judge == Identified(id="llava", fingerprint="ub1:" + "2" * 64)
    mixed = scores.assign(judge_fingerprint=np.where(scores["method"] == "bad", "ub1:old", "ub1:new"))
    with pytest.raises(UserError, match="different weights"):
        board_of(mixed)


def test_protocols_are_not_mixed(scores):
    with pytest.raises(UserError, match="different protocols"):
        board_of(pd.concat([scores, scores.assign(protocol="ub1:other")]))
    with pytest.raises(UserError, match="no scores to make a board of"):
        board_of(scores.iloc[:0])


def test_notes_of_the_caller_come_last(board, scores):
    assert board_of(scores, notes=["DDIM, 50 steps."]).notes == (*board.notes, "DDIM, 50 steps.")
