"""Loss curves: which reports hold some, how they are thinned, and how they are drawn."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scoretables import fail, score_table
from tests.test_render import TextFiles
from unlearnbench.board.data import Identified
from unlearnbench.board.losses import MOST, EditLoss, LossCurve, loss_curves, stored_losses, thinned
from unlearnbench.board.make import make_board
from unlearnbench.edits import EditFile, write_edit
from unlearnbench.render import render
from unlearnbench.render.losses import axis_of, short
from unlearnbench.store import Store, write_json

NAN = math.nan
HOSTILE = "evil\x1b[31m</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"


def curves(report, sequence=()):
    return [(curve.loss, curve.concept, curve.runs) for curve in loss_curves(report, sequence)]


# ---------------------------------------------------------------- forms
def test_a_list_of_numbers_is_one_optimisation():
    assert curves({"losses": [3, 2.5, 1.0], "attention": [1.0]}) == [("", "", ((3.0, 2.5, 1.0),))]


def test_terms_of_an_objective_are_curves_of_their_own():
    assert curves({"losses": [[3.0, 1.0], [2.0, 4.0]]}) == [
        ("term 1 of 2", "", ((3.0, 2.0),)),
        ("term 2 of 2", "", ((1.0, 4.0),)),
    ]
    assert curves({"losses": [[3.0], [2.0]]}) == [("", "", ((3.0, 2.0),))]


def test_layers_are_optimised_one_after_the_other_edit_after_edit():
    report = {"losses": {"dog": [[[4.0, 3.0], [2.0, 1.0]], [[3.5, 3.0], []]], "cat": [[[1.0]]]}}
    assert curves(report) == [
        ("", "dog", ((4.0, 3.0), (2.0, 1.0), (3.5, 3.0))),
        ("", "cat", ((1.0,),)),
    ]


def test_other_losses_are_named():
    report = {"losses": [1.0], "inversion_losses": {"dog": [2.0, 1.0], "cat": []}}
    assert curves(report) == [("", "", ((1.0,),)), ("inversion", "dog", ((2.0, 1.0),))]


def test_a_sequence_has_the_report_of_every_step():
    report = {"dog": {"losses": [1.0]}, "cat": {"losses": {"cat": [[[2.0]]]}}, "ink": "nothing"}
    assert curves(report, ["dog", "cat", "ink"]) == [("", "dog", ((1.0,),)), ("", "cat", ((2.0,),))]
    assert curves(report) == []


def test_what_is_not_finite_is_a_gap_whoever_wrote_it():
    ((_, _, (run,)),) = curves({"losses": [1.0, "nan", "inf", "-inf", None, NAN, math.inf, 0.0]})
    assert [x if x == x else None for x in run] == [1.0, *[None] * 6, 0.0]


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"dog": []},
        {"dog": [[]]},
        {"dog": [[[]]]},
        0.5,
        None,
        "low",
        [True, False],
        ["low", "high"],
        [[1.0, 2.0], [1.0]],
        [1.0, [2.0]],
        [[[1.0], "low"]],
        {"dog": {"layer": [1.0]}},
        [[[[1.0]]]],
    ],
)
def test_other_forms_are_no_curves(value):
    assert curves({"losses": value}) == []


def test_first_and_last_are_means_of_tenths_of_every_optimisation():
    one = LossCurve("", "", (tuple(float(x) for x in range(40)),))
    assert (one.first, one.last, one.steps) == (1.5, 37.5, 40)
    several = LossCurve("", "", ((4.0, 9.0, 2.0), (2.0, 1.0)))
    assert (several.first, several.last, several.steps) == (3.0, 1.5, 5)
    assert math.isnan(LossCurve("", "", ((1.0, NAN),)).last)


# ---------------------------------------------------------------- thinning
def test_points_are_means_of_blocks():
    values = np.random.default_rng(0).normal(size=1000)
    (points,) = thinned([values])
    assert np.allclose([point.loss for point in points], values.reshape(200, 5).mean(axis=1))
    assert np.allclose([point.step for point in points], np.arange(1, 1001).reshape(200, 5).mean(axis=1))


def test_few_steps_stay_as_they_are():
    (points,) = thinned([[3.0, 1.0, NAN]])
    assert [(point.step, point.steps) for point in points] == [(1, 1), (2, 1), (3, 1)]
    assert [point.loss for point in points[:2]] == [3.0, 1.0]
    assert math.isnan(points[2].loss)


def test_a_block_with_a_loss_that_is_not_finite_has_no_mean():
    (points,) = thinned([[1.0, 3.0, NAN, 5.0, 7.0, 9.0]], most=3)
    assert (points[0].loss, points[2].loss) == (2.0, 8.0)
    assert math.isnan(points[1].loss)


def test_no_mean_is_over_two_optimisations_while_there_is_room():
    runs = [[1.0, 3.0, 10.0, 20.0], [100.0, 200.0, 300.0]]
    assert [[point.loss for point in run] for run in thinned(runs, most=4)] == [[2.0, 15.0], [150.0, 300.0]]
    assert [[point.loss for point in run] for run in thinned(runs, most=2)] == [[8.5, 200.0]]
    (point,) = thinned(runs, most=1)[0]
    assert point.loss == pytest.approx(634 / 7)


LOSSES = st.lists(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=60), min_size=1, max_size=30
)


@given(LOSSES, st.integers(1, 50))
def test_thinning_keeps_the_mean_and_the_most(runs, most):
    points = [point for run in thinned(runs, most) for point in run]
    steps = [x for run in runs for x in run]
    assert 1 <= len(points) <= most
    assert sum(point.steps for point in points) == len(steps)
    assert sum(point.loss * point.steps for point in points) == pytest.approx(math.fsum(steps), rel=1e-9, abs=1e-3)
    assert sum(point.step * point.steps for point in points) == pytest.approx(len(steps) * (len(steps) + 1) / 2)
    assert [point.step for point in points] == sorted(point.step for point in points)


@given(st.integers(1, 5000))
def test_a_curve_has_at_most_200_points(steps):
    (points,) = thinned([[1.0] * steps])
    assert len(points) <= MOST
    assert len(points) == steps or len(points) > MOST / 2


# ---------------------------------------------------------------- out of the store
@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.prepare()
    return store


def put(store, key, report):
    with store.create("edit", key) as folder:
        write_json(folder / "report.json", report)


def test_curves_come_from_the_stored_edits_of_the_first_method_seed(store):
    rows = score_table(["unedited", "esd", "uce"], ["cat", "dog"], lambda *_: True, method_seeds=(3, 4))
    rows = fail(rows, (rows["method"] == "esd") & (rows["forget"] == "dog"), "the edit is broken")
    put(store, "ub1:esd/cat/3", {"report": {"losses": [2.0, 1.0]}})
    put(store, "ub1:esd/cat/4", {"report": {"losses": [9.0]}})
    put(store, "ub1:esd/dog/3", {"report": {"losses": [1.0, "nan"]}})
    put(store, "ub1:uce/cat/3", {"report": {"pairs": 4}})
    put(store, "ub1:uce/dog/3", {"seconds": 1.0})
    found = stored_losses(rows, store)
    assert [(one.method, one.forget, one.curve.steps, one.curve.first) for one in found] == [
        ("esd", "cat", 2, 2.0),
        ("esd", "dog", 2, 1.0),
    ]
    assert stored_losses(rows, Store(store.root / "empty")) == []


def test_a_row_that_forgets_in_sequence_has_a_curve_for_each_concept(store):
    rows = score_table(["esd"], ["cat", "dog"], lambda *_: True).replace({"forget": {"cat": "cat>dog"}})
    rows = rows[rows["forget"] == "cat>dog"].assign(edit_key="ub1:one")
    put(store, "ub1:one", {"report": {"cat": {"losses": [2.0]}, "dog": {"losses": [1.0]}}})
    assert [(one.forget, one.curve.concept) for one in stored_losses(rows, store)] == [
        ("cat>dog", "cat"),
        ("cat>dog", "dog"),
    ]


# ---------------------------------------------------------------- drawing
def section(losses, methods=("unedited", "esd", "siss"), concepts=("cat", "dog_toy")):
    scores = score_table(methods, concepts, lambda *_: True)
    model = Identified(id="tiny", fingerprint="ub1:" + "ab" * 32)
    board = make_board(scores, title="Tiny", columns=("forget",), model=model, draws=20)
    page = render(board, "html", losses=losses)
    found = re.search(r'<section id="optimisation">.*?</section>', page, re.DOTALL)
    assert (found is None) is ('href="#optimisation"' not in page)
    return found and found[0]


def edit(method, forget, *runs, loss="", concept=""):
    return EditLoss(method, forget, LossCurve(loss, concept, runs))


def test_the_section_looks_as_it_did(snapshot):
    losses = [
        edit("esd", "cat", (4.0, NAN, 3.0, 2.0)),
        edit("esd", "dog_toy", (5.0, 4.0, 3.0, 1.5)),
        edit("siss", "cat", (1000.0, 100.0), (10.0, 1.0), loss="term 1 of 2"),
        edit("siss", "cat", (-1.0, 1.0), (0.0, 0.5), loss="term 2 of 2"),
        edit("siss", "cat", (0.25,), loss="inversion", concept="dog_toy"),
    ]
    assert section(losses) == snapshot.use_extension(TextFiles)


def test_there_is_no_section_without_a_loss():
    assert section([]) is None
    assert section([edit("esd", "cat", (NAN, NAN))]) is None
    assert section([edit("gone", "cat", (1.0, 2.0))]) is None


def test_a_gap_is_in_the_line_and_a_lone_point_is_a_dot():
    text = section([edit("esd", "cat", (3.0, 2.0, NAN, 1.0, NAN, 2.0, 3.0))])
    (path,) = re.findall(r'<path id="[^"]+" d="([^"]+)"', text)
    assert [len(part.split()) for part in path.split("M")[1:]] == [2, 2]
    assert text.count("<circle") == 1
    assert "a gap where a loss is not finite (2 in all)" in text


def test_the_mean_is_drawn_where_the_curves_have_the_same_steps():
    assert "mean of 2" in section([edit("esd", "cat", (3.0, 2.0)), edit("esd", "dog_toy", (2.0, 1.0))])
    assert "mean of" not in section([edit("esd", "cat", (3.0, 2.0)), edit("esd", "dog_toy", (2.0, 1.0, 0.5))])
    assert "mean of" not in section([edit("esd", "cat", (3.0, 2.0)), edit("esd", "dog_toy", (2.0,), (1.0, 0.5))])


def test_hostile_names_are_shown_as_text():
    text = section([edit(HOSTILE, "cat", (3.0, 2.0), loss=HOSTILE, concept=HOSTILE)], ("unedited", HOSTILE))
    assert "<script" not in text
    assert "<img" not in text
    assert "\x1b" not in text
    assert r"\x1b" in text
    assert "{{ 7*7 }}" in text


@pytest.mark.parametrize(
    ("losses", "log"),
    [
        ([1.0, 19.0], False),
        ([1.0, 20.0], True),
        ([1e-9, 1e9], True),
        ([0.0, 100.0], False),
        ([-1.0, 100.0], False),
        ([0.0], False),
        ([5.0], False),
        ([-5.0], False),
    ],
)
def test_an_axis_is_logarithmic_where_positive_losses_are_far_apart_and_linear_ones_hold_0(losses, log):
    axis = axis_of(losses)
    assert axis.log is log
    assert log or axis.low <= 0.0 <= axis.high
    marks = axis.marks()
    assert 2 <= len(marks) <= 8
    assert len({mark.text for mark in marks}) == len(marks)
    heights = [axis.place(loss) for loss in sorted(losses)]
    assert all(10 <= height <= 164 for height in heights)
    assert heights == sorted(heights, reverse=True)


@given(st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), min_size=1, max_size=5))
def test_every_loss_has_a_place_and_every_axis_marks(losses):
    axis = axis_of(losses)
    assert all(9.9 <= axis.place(loss) <= 164.1 for loss in losses)
    assert 2 <= len(axis.marks()) <= 8


def test_losses_are_short():
    assert [short(x) for x in (0.0, 0.02, 1500.0, 2e-6, 1.234567, 123456.0, -3e-7, 0.5)] == [
        "0", "0.02", "1,500", "2e-6", "1.23", "1.23e5", "-3e-7", "0.5",
    ]  # fmt: skip


# ---------------------------------------------------------------- one edit
@pytest.mark.parametrize("sequence", [False, True])
def test_show_tells_the_losses_of_an_edit(call, tmp_path, sequence):
    report = {"losses": torch.tensor([4.0, 2.0, NAN])}
    request = {"forget": [{"id": "dog"}], **({"sequence": True} if sequence else {})}
    task = {"method": "esd", "request": request}
    file = tmp_path / "edit.safetensors"
    write_edit(file, EditFile({}, "ub1:1", "ub1:2", task, report={"dog": report} if sequence else report))
    _, out, _ = call("show", file)
    concept = "dog" if sequence else ""
    expected = {"loss": "", "concept": concept, "optimisations": 1, "steps": 3, "first": 4.0, "last": "nan"}
    assert json.loads(out)["losses"] == [expected]


def test_show_is_silent_about_losses_that_there_are_not(call, tmp_path):
    file = tmp_path / "edit.safetensors"
    write_edit(file, EditFile({}, "ub1:1", "ub1:2", {"method": "uce", "request": {"forget": [{"id": "dog"}]}}))
    assert "losses" not in json.loads(call("show", file)[1])
