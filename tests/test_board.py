from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.scoretables import fail, judge_edits, random_decide, score_table, unscore
from unlearnbench.board import columns
from unlearnbench.board.cells import OF_SETS
from unlearnbench.board.columns import COLUMNS
from unlearnbench.board.data import Board, Identified
from unlearnbench.board.make import make_board
from unlearnbench.errors import UserError
from unlearnbench.results.table import CAPTION_METRICS
from unlearnbench.stats.formulas import harmonic_mean
from unlearnbench.stats.intervals import t_interval, wilson_interval

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
    assert cell.interval == "wider"
    low, high = t_interval(own.assign(label=1 - own["label"].astype(float)).groupby("forget")["label"].mean())
    assert cell.lo <= low
    assert cell.hi >= high
    assert cell.lo < cell.value < cell.hi
    assert row_of(board, "middle").cells["retain"].interval == "bootstrap"
    row = row_of(board, "middle").cells
    assert row["harmonic_mean"].value == pytest.approx(float(harmonic_mean(row["forget"].value, row["retain"].value)))
    assert row["harmonic_mean"].n_images == row["forget"].n_images + row["retain"].n_images
    assert row["forget_direct"].n_images == row["forget_indirect"].n_images == 36
    assert (row["neighbour"].n_concepts, row["neighbour"].n_images) == (2, 24)


def test_time_of_an_edit_is_a_median_with_its_range(board):
    cell = row_of(board, "good").cells["edit_seconds"]
    assert (cell.value, cell.lo, cell.hi, cell.interval, cell.n_concepts) == (5.5, 1.5, 9.5, "range", 9)
    control = row_of(board, "unedited").cells["edit_seconds"]
    assert (control.value, control.note) == (None, "no edit was made")
    weights = row_of(board, "good").cells["weights_changed"]
    assert (weights.value, weights.lo, weights.hi) == (5 * 1_050_000, 1_050_000, 9 * 1_050_000)
    memory = row_of(board, "good").cells["peak_mem_mb"]
    assert (memory.value, memory.note) == (None, "it was not recorded")


def test_a_verdict_that_is_not_ok_is_counted_and_explained(scores):
    one = (scores["method"] == "good") & (scores["forget"] == CONCEPTS[0])
    judged = judge_edits(scores, one, "collapsed", "nothing is left")
    row = row_of(board_of(judged, columns=["forget", "verdict"]), "good")
    assert row.cells["verdict"].value == pytest.approx(8 / 9)
    assert row.cells["verdict"].n_concepts == 9
    (unsound,) = row.unsound
    assert (unsound.verdict, unsound.edits, unsound.concepts) == ("collapsed", 1, (CONCEPTS[0],))
    assert unsound.reason == "nothing is left"
    # It says what the edit is worth, and the images keep their say.
    assert row.rank == row_of(board_of(scores), "good").rank


def test_scores_without_verdicts_make_a_board_without_them(scores):
    board = board_of(scores.assign(verdict=None, verdict_reason=None), columns=["forget", "verdict"])
    cell = row_of(board, "good").cells["verdict"]
    assert (cell.value, cell.note) == (None, "it was not recorded")
    assert row_of(board, "good").unsound == ()
    assert row_of(board, "unedited").cells["verdict"].note == "no edit was made"


def test_a_method_changes_nothing_in_the_row_of_another(board, scores):
    alone = board_of(scores[scores["method"].isin(["middle", "unedited", "prompt-swap"])])
    assert row_of(alone, "middle").cells == row_of(board, "middle").cells
    matrices = {m.method: m for m in board.matrices}
    assert all(m == matrices[m.method] for m in alone.matrices)
    for one, other in zip(alone.slices, board.slices, strict=True):
        assert one.cells["middle"] == other.cells["middle"]


def test_the_same_table_gives_the_same_board(board, scores):
    assert board_of(scores.sample(frac=1.0, random_state=3)) == board


def forgetting(n: int) -> pd.DataFrame:
    """Return the scores with only the first concepts forgotten."""
    scores = score_table(METHODS, CONCEPTS, random_decide(0, STILL, RETAIN))
    return scores[scores["forget"].isin(CONCEPTS[:n])]


def test_equal_methods_share_a_rank():
    methods = ["a", "b", "worse", "c"]
    table = score_table(methods, CONCEPTS[:3], lambda m, e, c, p, s: p == 0 if e == c else m != "worse" or p > 0)
    assert [(row.method, row.rank) for row in board_of(table).rows] == [("a", 1), ("b", 1), ("c", 1), ("worse", 4)]


def test_methods_that_are_not_told_apart_share_a_rank_and_a_letter(board, scores):
    assert row_of(board, "good").group != row_of(board, "bad").group
    twin = scores[scores["method"] == "good"].assign(method="twin", edit_key="")
    rows = {row.method: row for row in board_of(pd.concat([scores, twin])).rows}
    assert rows["good"].group == rows["twin"].group != ""
    assert rows["good"].rank == rows["twin"].rank == 1
    few = scores[scores["forget"].isin(CONCEPTS[:5])]
    assert {row.group for row in board_of(few).rows} == {""}
    assert any("telling methods apart takes at least 8" in note for note in board_of(few).notes)


def test_every_pair_of_ranked_methods_is_compared_and_corrected_for_all(board):
    assert [(d.first, d.second) for d in board.differences] == [("good", "middle"), ("good", "bad"), ("middle", "bad")]
    first = board.differences[1]
    assert first.value == pytest.approx(
        row_of(board, "good").cells["harmonic_mean"].value - row_of(board, "bad").cells["harmonic_mean"].value
    )
    assert first.lo < first.value < first.hi
    assert (first.wins, first.ties, first.losses) == (9, 0, 0)
    assert first.p == pytest.approx(2 / 2**9)  # every sign the same
    assert first.p_holm >= first.p
    few = board_of(forgetting(5))
    assert {d.p for d in few.differences} == {None}
    assert {d.interval for d in few.differences} == {"wider"}
    assert {d.interval for d in board_of(forgetting(1)).differences} == {"none"}


def test_the_suite_chooses_what_ranks_and_the_column_says_which_way(scores, monkeypatch):
    retain = board_of(scores, rank_by="retain")
    values = [row.cells["retain"].value for row in retain.rows if not row.control]
    assert values == sorted(values, reverse=True)
    assert {d.column for d in retain.differences} == {"retain"}
    slow = scores.assign(edit_seconds=scores["edit_seconds"] * scores["method"].map({"good": 3, "middle": 2, "bad": 1}))
    assert [row.method for row in board_of(slow, rank_by="edit_seconds").rows][:3] == ["bad", "middle", "good"]
    flipped = COLUMNS["retain"].model_copy(update={"direction": "lower"})
    monkeypatch.setitem(columns.COLUMNS, "retain", flipped)
    values = [row.cells["retain"].value for row in board_of(scores, rank_by="retain").rows if not row.control]
    assert values == sorted(values)


def test_values_relative_to_the_controls(board):
    rows = {row.method: row.cells for row in board.rows}
    forget, retain = ({name: rows[name][column].value for name in METHODS} for column in ("forget", "retain"))
    span = forget["prompt-swap"] - forget["unedited"]
    found = rows["middle"]
    expected = (forget["middle"] - forget["unedited"]) / span
    ratio = retain["middle"] / retain["unedited"]
    assert found["forget_norm"].value == pytest.approx(expected)
    assert found["retain_ratio"].value == pytest.approx(ratio)
    assert found["harmonic_mean_norm"].value == pytest.approx(float(harmonic_mean(expected, min(1.0, ratio))))
    assert found["forget_norm"].lo < expected < found["forget_norm"].hi
    assert rows["unedited"]["forget_norm"].note == "no edit was made"
    few = row_of(board_of(forgetting(4)), "middle").cells["harmonic_mean_norm"]
    assert few.interval == "wider"
    assert few.lo < few.value < few.hi


def test_no_relative_values_without_both_controls_or_without_a_span(scores):
    alone = row_of(board_of(scores[scores["method"] != "prompt-swap"]), "good").cells["forget_norm"]
    assert (alone.value, alone.note) == (None, "it needs complete rows of unedited and prompt-swap")
    table = score_table(METHODS[:3], CONCEPTS[:2], lambda m, e, c, p, s: True)
    cell = row_of(board_of(table), "good").cells["forget_norm"]
    assert (cell.value, cell.note) == (None, "unedited and prompt-swap do not span a range")


def test_columns_that_the_suite_does_not_show_are_kept_where_they_hold_a_value(scores):
    board = board_of(scores, columns=["forget", "retain"])
    assert [column.name for column in board.columns] == ["forget", "retain"]
    more = [column.name for column in board.more]
    assert "forget_direct" in more
    assert "peak_mem_mb" not in more
    assert set(row_of(board, "good").cells) == {"forget", "retain", *more}


def test_parts_of_the_board_are_boards_of_their_rows(board, scores):
    direct = next(part for part in board.slices if part.name == "direct")
    own = scores[scores["prompt_kind"] == "direct"]
    assert direct.cells["good"]["forget"].value == row_of(board, "good").cells["forget_direct"].value
    whole = row_of(board_of(own), "good").cells
    assert direct.cells["good"]["harmonic_mean"] == whole["harmonic_mean"]
    kinds = scores.assign(kind=scores["concept"].map(lambda c: "style" if c < "c4" else "scene"))
    parts = {part.name: part for part in board_of(kinds).slices if part.by == "kind"}
    assert parts["style"].forget == ("c0", "c1", "c2", "c3")
    style = board_of(kinds[kinds["forget"] < "c4"])
    assert parts["style"].cells["bad"]["retain"] == row_of(style, "bad").cells["retain"]


def test_the_matrix_shows_what_an_edit_does_to_each_concept(board, scores):
    own = scores[(scores["method"] == "bad") & (scores["forget"] == "c2")]
    shows = own["label"].astype(float).groupby(own["concept"]).mean()
    matrix = next(m for m in board.matrices if m.method == "bad")
    assert matrix.shows[2] == pytest.approx(tuple(shows[c] for c in board.evaluate))
    assert board.roles[1] == ("neighbour", "forget", "neighbour", *["retain"] * 6)


def test_swapped_rows_a_lost_concept_and_a_doubled_image_are_noticed(board, scores):
    names = {"good": "bad", "bad": "good"}
    swapped = board_of(scores.assign(method=scores["method"].replace(names), edit_key=""))
    assert [row.method for row in swapped.rows][:3] == ["bad", "middle", "good"]
    assert row_of(swapped, "bad").cells == row_of(board, "good").cells
    lost = board_of(scores[(scores["method"] != "good") | (scores["forget"] != "c4")])
    assert row_of(lost, "good").rank is None
    assert row_of(lost, "good").not_run == ("c4",)
    with pytest.raises(ValueError, match="two rows for the same image"):
        board_of(pd.concat([scores, scores.iloc[[5]]]))


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
    for name, cell in row.cells.items():
        assert (cell.value, cell.lo, cell.hi, cell.n_images) == (None, None, None, 0), name
        if name in OF_SETS:  # nothing of that kind was asked for
            assert "no set evaluator" in cell.note
        elif name in ("forget_adversarial", "err5"):
            assert cell.note.endswith("the suite has no adversarial prompts")
        elif name in CAPTION_METRICS:
            assert "no captions" in cell.note
        else:
            assert cell.note == "needs a text encoder"
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
    assert cell.interval == "wider"
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
    assert alone["retain"].note == "no image is of a concept besides the forgotten one"
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


# ---------------------------------------------------------------- controls that are methods
EXTRA = {"destroy": (0.1, 0.1), "aimless": (0.9, 0.4)}


def with_controls(scores, names=tuple(EXTRA)):
    """Return the scores with rows of more controls, which have edits and verdicts as methods have."""
    still, retain = ({name: EXTRA[name][i] for name in EXTRA} for i in (0, 1))
    more = score_table(list(names), CONCEPTS, random_decide(1, still, retain))
    more = (
        judge_edits(more, more["method"] == "destroy", "collapsed", "no text arrives") if "destroy" in names else more
    )
    return pd.concat([scores, more.assign(family="control")], ignore_index=True)


def test_controls_stand_below_without_rank_the_bounds_first(scores):
    board = board_of(with_controls(scores), controls={"destroy": "keys and values set to zero"})
    assert [(row.method, row.rank, row.control) for row in board.rows[3:]] == [
        ("prompt-swap", None, True),
        ("unedited", None, True),
        ("aimless", None, True),
        ("destroy", None, True),
    ]
    assert "destroy is a control, without a rank: keys and values set to zero." in board.notes
    assert "aimless is a control, without a rank: it is there to compare with." in board.notes
    assert not any(note.startswith("No rank") for note in board.notes)
    assert all(EXTRA.keys().isdisjoint({one.first, one.second}) for one in board.differences)


def test_a_control_with_an_edit_has_the_values_of_an_edit(scores):
    board = board_of(with_controls(scores))
    own = row_of(board, "destroy")
    assert own.cells["edit_seconds"].value == 5.5
    assert (own.cells["verdict"].value, own.cells["verdict"].n_concepts) == (0.0, 9)
    assert [(one.verdict, one.edits) for one in own.unsound] == [("collapsed", 9)]
    forget, floor, ceiling = (
        row_of(board, name).cells["forget"].value for name in ("destroy", "unedited", "prompt-swap")
    )
    assert own.cells["forget_norm"].value == pytest.approx((forget - floor) / (ceiling - floor))
    base = row_of(board, "unedited").cells["retain"].value
    assert own.cells["retain_ratio"].value == pytest.approx(own.cells["retain"].value / base)


@pytest.mark.parametrize("names", [("destroy",), ("aimless",), ("destroy", "aimless")])
def test_controls_change_nothing_of_any_other_row(scores, board, names):
    other = board_of(with_controls(scores, names))
    for row in board.rows:
        assert row_of(other, row.method) == row
    assert other.differences == board.differences
    assert [one for one in other.by_concept if one.method not in names] == list(board.by_concept)
    assert [matrix for matrix in other.matrices if matrix.method not in names] == list(board.matrices)
    for one, two in zip(board.slices, other.slices, strict=True):
        assert {m: cells for m, cells in two.cells.items() if m not in names} == one.cells


def test_a_methods_row_is_no_control_because_of_its_name(scores):
    """The table decides: a method called like a control of another package is ranked."""
    board = board_of(with_controls(scores).assign(family=lambda t: t["family"].where(t["method"] != "aimless", "mine")))
    assert (row_of(board, "aimless").control, row_of(board, "aimless").rank) == (False, 4)
