"""Captions: compared once an edit, in columns of their own, and in nothing that a judge's answers make."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest

from tests.scoretables import score_table
from tests.test_set_evaluators import CODE, MODEL, table_of
from unlearnbench.board.columns import COLUMNS
from unlearnbench.board.make import make_board
from unlearnbench.captions import CaptionSet, read_captions
from unlearnbench.errors import UserError
from unlearnbench.plugins import load_plugins
from unlearnbench.results.table import CAPTION_METRICS, CAPTIONS, validate
from unlearnbench.run.cost import estimate
from unlearnbench.run.session import Session
from unlearnbench.store import Store

TEXTS = ("a red house", "the sun on a beach", "two alphas in the sky", "a green tree")
MORE = """
class Patchy(Shine):
    '''As Shine; of captions, nothing of the first image and no kid.'''
    def score_set(self, edited, reference, question):
        found = super().score_set(edited, reference, question)
        if question.concept != "mine":
            return found
        values = {"drift_ssim": (math.nan, *found.images["drift_mse"][1:])}
        return SetScore(images=values, whole={"kid": math.nan})

class Torn(Shine):
    '''As Shine, and raises for captions.'''
    def score_set(self, edited, reference, question):
        if question.concept == "mine":
            raise RuntimeError("no captions, please")
        return super().score_set(edited, reference, question)

class Full(Shine):
    '''As Shine, with a value of everything that captions have a column for.'''
    def score_set(self, edited, reference, question):
        gaps = super().score_set(edited, reference, question).images["drift_mse"]
        whole = {"kid": sum(gaps), "fid": 10 * sum(gaps)}
        images = {"clip_score": gaps, "drift_ssim": tuple(1 - g for g in gaps), "lpips": tuple(2 * g for g in gaps)}
        return SetScore(images=images, whole=whole)
"""


@pytest.fixture
def sets(fake, install):
    hook = CODE.index("@hookimpl")
    code = CODE[:hook] + MORE + CODE[hook:].replace('"Short")', '"Short", "Patchy", "Torn", "Full")')
    return install("unlearnbench-sets", code)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"id": "mine", "display": "my captions", "captions": TEXTS}))
    return path


def plan_of(file=None, **more):
    session = Session.open(load_plugins(), "letters-quick", set_evaluator="shine", captions=file, **more)
    return session.plan(["shift"], seed=0, dtype="float32")


def run(call, store, file, evaluator, *more):
    asked = ("--set-evaluator", evaluator, "--captions", file)
    return call("run", "letters-quick", "--method", "shift", "--store", store, *asked, *more)


def row(board, method):
    return next(one["cells"] for one in board["rows"] if one["method"] == method)


# ---------------------------------------------------------------- plan
def test_they_add_to_a_plan_and_change_nothing_in_it(sets, file):
    plain, more = plan_of(), plan_of(file)
    assert more.edits == plain.edits
    assert more.scores == plain.scores
    assert plain.samples.items() <= more.samples.items()
    assert plain.comparisons.items() <= more.comparisons.items()
    rest = {name: value for name, value in more.protocol_fields.items() if name != "captions"}
    assert rest == plain.protocol_fields
    assert more.protocol != plain.protocol
    added = [task for key, task in more.samples.items() if key not in plain.samples]
    assert {task.edit for task in added} == {None, *more.edits}  # one list of images for each model
    assert {(task.prompts, task.seeds) for task in added} == {((*TEXTS[:2], TEXTS[3]), (0,))}
    judged = {task.sample for task in more.scores.values()}
    assert judged.isdisjoint(set(more.samples) - set(plain.samples))
    assert (estimate(more, None).images, estimate(more, None).answers) == (
        estimate(plain, None).images + 3 * 3, estimate(plain, None).answers,
    )  # fmt: skip


def test_each_edit_is_compared_with_the_unedited_model_on_the_same_captions_and_noise(sets, file):
    plan = plan_of(file)
    for cell in plan.cells:
        task = plan.comparisons[cell.captions]
        edited, base = plan.samples[task.edited], plan.samples[task.reference]
        assert (edited.edit, base.edit) == (cell.edit, None)
        assert edited.model_copy(update={"edit": None}) == base


def test_a_caption_that_names_what_is_forgotten_is_left_out_and_this_is_told(sets, file):
    session = Session.open(load_plugins(), "letters-quick", set_evaluator="shine", captions=file)
    assert session.captions.captions == (*TEXTS[:2], TEXTS[3])
    assert session.notes == ("1 of 4 captions name a forgotten concept, and are left out",)
    other = Session.open(load_plugins(), "letters-quick", set_evaluator="shine", captions=file, concepts=["gamma"])
    assert (other.captions.captions, other.notes) == (TEXTS, ())
    with pytest.raises(UserError, match="fewer than two captions of mine"):
        CaptionSet(id="mine", display="m", captions=TEXTS[2:]).without([session.dataset.concepts["alpha"]])


def test_other_captions_are_another_protocol(sets, file, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(file.read_text().replace("green", "blue"))
    assert plan_of(file).protocol != plan_of(other).protocol
    assert plan_of(file).protocol_fields["captions"]["images"] == 3


def test_without_a_set_evaluator_or_with_a_wrong_file_it_is_said_what_to_type(call, sets, file, tmp_path):
    code, _, err = call("run", "letters-quick", "--captions", file)
    assert code == 2
    assert "captions are for a set evaluator" in err
    assert "--set-evaluator NAME" in err
    for text, message in (("id: mine\ndisplay: m\ncaptions: [one]", "captions"), ("a: [", "is no YAML")):
        file.write_text(text)
        code, _, err = run(call, tmp_path / "s", file, "shine")
        assert code == 2
        assert message in err
        assert len(err.strip().splitlines()) == 2
    assert run(call, tmp_path / "s", tmp_path / "gone.yaml", "shine")[0] == 2


def test_a_file_is_read_as_it_was_written(file):
    assert read_captions(file) == CaptionSet(id="mine", display="my captions", captions=TEXTS)


# ---------------------------------------------------------------- runs
def test_a_run_adds_columns_and_leaves_every_other_value_as_it_was(call, sets, file, tmp_path):
    store = tmp_path / "s"
    code, out, err = call(
        "run", "letters-quick", "--method", "shift", "--store", store, "--set-evaluator", "full", "-f", "json"
    )
    assert code == 0, err
    before, known = json.loads(out), {entry.key for entry in Store(store).ls()}
    code, out, err = run(call, store, file, "full", "-f", "json")
    assert code == 0, err
    after = json.loads(out)
    assert {c["name"] for c in after["columns"]} - {c["name"] for c in before["columns"]} == set(CAPTION_METRICS)
    for method in ("unedited", "prompt-swap", "shift"):
        for name, cell in row(before, method).items():
            # another protocol draws other concepts, prompts and seeds, of the same images
            same = ("value", "n_concepts", "n_images", "n_unscored", "n_failed")
            assert [row(after, method)[name][part] for part in same] == [cell[part] for part in same], name
    assert (after["evaluate"], after["matrices"]) == (before["evaluate"], before["matrices"])
    assert "Captions: 3 of my captions, sampling seed 0." in " ".join(after["notes"])
    made = [entry.stage for entry in Store(store).ls() if entry.key not in known]
    assert sorted(made) == ["sample"] * 3 + ["set-score"] * 3  # the unedited model and two edits; no edit, no score

    table = table_of(store)
    assert len(table[table["method"] == "shift"]) == len(table[table["method"] == "unedited"])  # rows are of concepts
    edits = table[table["method"] == "shift"].groupby("forget")[[*CAPTIONS]].first()
    cells = row(after, "shift")
    for name in CAPTION_METRICS:
        assert cells[name]["value"] == pytest.approx(edits[name].median())
        assert (cells[name]["lo"], cells[name]["hi"]) == pytest.approx((edits[name].min(), edits[name].max()))
        assert cells[name]["interval"] == "range"
        assert (cells[name]["n_concepts"], cells[name]["n_images"]) == (2, 2 * 3)
    assert cells["caption_kid"]["value"] == pytest.approx(3 * cells["caption_clip_score"]["value"])  # sum and mean
    assert cells["caption_kid"]["value"] > 0.0
    base = row(after, "unedited")["caption_ssim"]
    assert (base["value"], base["n_concepts"], base["n_images"], base["lo"]) == (1.0, 1, 3, None)

    code, _, err = run(call, store, file, "full", "--reuse", "only")
    assert code == 0, err


def test_an_image_without_a_value_is_counted_and_in_no_mean(call, sets, file, tmp_path):
    code, out, err = run(call, tmp_path / "s", file, "patchy", "-f", "json")
    assert code == 0, err
    cell = row(json.loads(out), "shift")["caption_ssim"]
    assert (cell["n_images"], cell["n_unscored"], cell["n_failed"]) == (2 * 2, 2, 0)
    assert cell["value"] > 0.0
    assert "caption_kid" not in row(json.loads(out), "shift")
    assert table_of(tmp_path / "s")["caption_kid"].isna().all()


def test_captions_that_fail_fail_alone_and_are_counted(call, sets, file, tmp_path):
    code, out, err = run(call, tmp_path / "s", file, "torn", "-f", "json")
    assert code == 1
    assert "RuntimeError: no captions, please" in err
    table = table_of(tmp_path / "s")
    assert table["label"].notna().all()
    assert (table["status"] == "ok").all()
    assert table[[*CAPTION_METRICS]].isna().all(axis=None)
    assert (table["caption_images"] == 3).all()
    assert row(json.loads(out), "shift")["drift_mse"]["value"] > 0.0


def test_an_edit_that_fails_is_counted_and_the_others_are_compared(call, sets, file, tmp_path):
    asked = ("--set-evaluator", "full", "--captions", file, "--store", tmp_path / "s", "-f", "json")
    code, out, _ = call("run", "letters-quick", "--method", "broken", *asked)
    assert code == 1
    board = json.loads(out)
    failed = sum(f["edits"] for one in board["rows"] if one["method"] == "broken" for f in one["failures"])
    assert failed == 1  # the method raises for one of two concepts
    cell = row(board, "broken")["caption_kid"]
    assert (cell["n_concepts"], cell["n_images"], cell["n_failed"]) == (1, 3, 3)


# ---------------------------------------------------------------- the board
@pytest.mark.parametrize("metric", CAPTION_METRICS)
def test_every_column_has_direction_range_and_median_over_edits(metric):
    info, other = COLUMNS[metric], COLUMNS[CAPTION_METRICS[metric]]
    assert (info.direction, info.low, info.high, info.unit) == (other.direction, other.low, other.high, other.unit)
    table = score_table(["unedited", "m"], ["a", "b", "c"], lambda *_: True)
    values = table["forget"].map({"a": 0.1, "b": 0.2, "c": 0.9}).where(table["method"] == "m", 0.0)
    table = validate(table.assign(**{metric: values, "caption_images": 5.0, "caption_unscored": 1.0}))
    board = make_board(table, title="t", columns=(metric,), model=MODEL, rank_by=metric)
    cell = next(one for one in board.rows if one.method == "m").cells[metric]
    assert (cell.value, cell.lo, cell.hi, cell.interval) == (0.2, 0.1, 0.9, "range")
    assert (cell.n_concepts, cell.n_images, cell.n_unscored, cell.n_failed) == (3, 12, 3, 0)


def test_an_edit_without_a_value_is_counted_and_in_no_median():
    table = score_table(["unedited", "m"], ["a", "b", "c"], lambda *_: True)
    values = table["forget"].map({"a": 0.1, "b": math.nan, "c": 0.9})
    unscored = table["forget"].map({"a": 0.0, "b": math.nan, "c": 2.0})
    table = validate(table.assign(caption_kid=values, caption_images=5.0, caption_unscored=unscored))
    board = make_board(table, title="t", columns=("caption_kid",), model=MODEL)
    cell = next(one for one in board.rows if one.method == "m").cells["caption_kid"]
    assert (cell.value, cell.n_concepts) == (pytest.approx(0.5), 2)
    assert (cell.n_images, cell.n_unscored, cell.n_failed) == (8, 2, 5)


def test_a_table_without_captions_says_so():
    table = score_table(["unedited", "m"], ["a", "b"], lambda *_: True)
    board = make_board(table, title="t", columns=("caption_fid",), model=MODEL)
    assert all("no captions" in one.cells["caption_fid"].note for one in board.rows)
    assert pd.isna(table["caption_images"]).all()
