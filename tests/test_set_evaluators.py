"""Set evaluators: their place in suite, plan, store, table and board, and what a failure of one does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.scoretables import score_table
from unlearnbench.board.cells import OF_SETS
from unlearnbench.board.columns import COLUMNS
from unlearnbench.board.data import Identified
from unlearnbench.board.make import make_board
from unlearnbench.plugins import load_plugins
from unlearnbench.results.publish import stored_results
from unlearnbench.results.table import SET_METRICS, validate
from unlearnbench.run.session import Session
from unlearnbench.spec import SetScoreTask
from unlearnbench.store import Store

CODE = '''
import math
from unlearnbench.api import EvaluatorSpec, Params, SetEvaluator, SetScore, hookimpl
from unlearnbench.identity import digest
from unlearnbench.testing.fakes import BrightnessParams

def brightness(image):
    values = image.convert("L").tobytes()
    return sum(values) / len(values) / 255

class Shine(SetEvaluator[BrightnessParams]):
    """Compares brightness (a fake, https://en.wikipedia.org/wiki/Relative_luminance)."""
    params_type = BrightnessParams
    def fingerprint(self):
        return digest("shine")
    def setup(self, ctx):
        self.ready = True
    def score_set(self, edited, reference, question):
        assert self.ready
        gaps = []
        for e, r in zip(edited, reference, strict=True):
            try:
                gaps.append((brightness(e.image) - brightness(r.image)) ** 2)
            except (OSError, SyntaxError, ValueError):
                gaps.append(math.nan)
        known = [g for g in gaps if not math.isnan(g)]
        kid = sum(known) / len(known) if known else math.nan
        return SetScore(images={"drift_mse": tuple(gaps)}, whole={"kid": kid})

class Gap(Shine):
    """As Shine, without a value of the first image, and without one of beta."""
    def score_set(self, edited, reference, question):
        if question.concept == "beta":
            raise RuntimeError("no beta")
        found = super().score_set(edited, reference, question)
        return SetScore(images={"drift_mse": (math.nan, *found.images["drift_mse"][1:])})

class Short(Shine):
    """As Shine, with too few values."""
    def score_set(self, edited, reference, question):
        return SetScore(images={"drift_mse": (0.0,)})

@hookimpl
def unlearnbench_set_evaluators():
    params = "unlearnbench.testing.fakes:BrightnessParams"
    return [
        EvaluatorSpec(c.lower(), f"unlearnbench_sets:{c}", params, f"the set evaluator {c}")
        for c in ("Shine", "Gap", "Short")
    ]
'''
MODEL = Identified(id="m", fingerprint="ub1:" + "a" * 64)


@pytest.fixture
def sets(fake, install):
    return install("unlearnbench-sets", CODE)


def run(call, store, *more):
    return call("run", "letters-quick", "--method", "shift", "--store", store, *more)


def table_of(store):
    return stored_results(Store(store), "letters-quick")[0].scores()


# ---------------------------------------------------------------- keys
def test_a_suite_without_a_set_evaluator_has_the_protocol_and_the_keys_it_had(sets):
    plain = Session.open(load_plugins(), "letters-quick").plan(["shift"], seed=0, dtype="float32")
    assert "set_evaluator" not in plain.protocol_fields
    assert not plain.comparisons
    with_sets = Session.open(load_plugins(), "letters-quick", set_evaluator="shine")
    more = with_sets.plan(["shift"], seed=0, dtype="float32")
    assert more.protocol != plain.protocol
    for stage in ("edits", "samples", "scores"):
        assert getattr(more, stage) == getattr(plain, stage)
    rest = {name: value for name, value in more.protocol_fields.items() if name != "set_evaluator"}
    assert rest == plain.protocol_fields


def test_every_comparison_is_with_the_unedited_images_of_the_same_prompts(sets):
    plan = Session.open(load_plugins(), "letters-quick", set_evaluator="shine").plan(["shift"], seed=0, dtype="float32")
    base = {cell.concept.id: cell.sample for cell in plan.cells if cell.method == "unedited"}
    for cell in plan.cells:
        task = plan.comparisons[cell.compared]
        assert (task.edited, task.reference) == (cell.sample, base[cell.concept.id])
        assert plan.samples[task.reference].edit is None
    assert len(plan.comparisons) < len(plan.cells)  # what both controls share is compared once


def test_every_field_enters_the_key():
    origin = {"distribution": "d", "version": "1", "source": "ub1:aa"}
    question = {
        "concept": "dog", "kind": "object", "display": "dog", "description": "a dog",
        "target": {"id": "cat", "display": "cat"}, "classes": {"dog": "a dog"},
    }  # fmt: skip
    task = SetScoreTask(
        edited="ub1:a", reference="ub1:b", evaluator="drift", origin=origin, params={}, fingerprint="ub1:c",
        question=question,
    )  # fmt: skip
    changes = {
        "edited": "x", "reference": "x", "evaluator": "x", "params": {"x": 1}, "fingerprint": "x",
        "origin": task.origin.model_copy(update={"version": "2"}),
        "question": task.question.model_copy(update={"display": "hound"}),
    }  # fmt: skip
    assert set(changes) == set(SetScoreTask.model_fields)
    keys = {task.model_copy(update={name: value}).key() for name, value in changes.items()}
    assert len(keys | {task.key()}) == len(changes) + 1


# ---------------------------------------------------------------- runs
def test_a_run_compares_every_set_once_and_the_board_shows_it(call, sets, tmp_path):
    store = tmp_path / "s"
    code, out, err = run(call, store, "--set-evaluator", "shine", "-f", "json")
    assert code == 0, err
    board = json.loads(out)
    assert {"drift_mse", "kid"} <= {column["name"] for column in board["columns"]}
    cells = {row["method"]: row["cells"] for row in board["rows"]}
    assert cells["unedited"]["drift_mse"]["value"] == 0.0
    assert cells["shift"]["drift_mse"]["value"] > 0.0
    entries = [entry for entry in Store(store).ls() if entry.stage == "set-score"]
    assert entries
    assert not list(Store(store).verify())

    table = table_of(store)
    assert (table["set_key"].notna()).all()
    own = table[(table["method"] == "shift") & (table["role"] == "retain")]
    expected = own.groupby("forget")["drift_mse"].mean().mean()
    assert cells["shift"]["drift_mse"]["value"] == pytest.approx(expected)
    one = own[(own["forget"] == "alpha") & (own["concept"] == "gamma")]
    assert one["kid"].tolist() == pytest.approx([one["drift_mse"].mean()] * len(one))

    code, _, err = run(call, store, "--set-evaluator", "shine", "--reuse", "only")
    assert code == 0, err
    before = {entry.key for entry in Store(store).ls()}
    assert run(call, store)[0] == 0  # without it: another board of the same images
    assert {entry.key for entry in Store(store).ls()} == before


def test_one_image_without_a_value_is_counted_and_a_set_that_raises_fails_alone(call, sets, tmp_path):
    store = tmp_path / "s"
    code, out, err = run(call, store, "--set-evaluator", "gap", "-f", "json")
    assert code == 1
    assert "RuntimeError: no beta" in err
    board = json.loads(out)
    cell = next(row for row in board["rows"] if row["method"] == "shift")["cells"]["drift_mse"]
    table = table_of(store)
    own = table[(table["method"] == "shift") & (table["role"] == "retain")]
    assert cell["n_images"] == own["drift_mse"].notna().sum()
    assert cell["n_unscored"] == own["drift_mse"].isna().sum() > 0
    assert own.loc[own["concept"] == "beta", "drift_mse"].isna().all()
    assert own.loc[own["concept"] == "gamma"].groupby("forget")["drift_mse"].apply(lambda x: x.isna().sum()).eq(1).all()
    assert own["label"].notna().all()  # the judge's answers are as they were


def test_a_wrong_number_of_values_is_a_failure(call, sets, tmp_path):
    code, out, err = run(call, tmp_path / "s", "--set-evaluator", "short", "-f", "json")
    assert code == 1
    assert "returned 1 values of drift_mse for 6 images" in err
    cell = json.loads(out)["rows"][0]["cells"].get("drift_mse")
    assert cell is None or cell["value"] is None


def test_a_suite_names_it_with_parameters_and_columns(call, sets, tmp_path, fake):
    text = (Path(__file__).parent / "fake" / "fake.toml").read_text()
    text = text.replace(
        'columns = ["forget"', 'set_evaluator = { name = "shine", params = { threshold = 0.25 } }\ncolumns = ["kid"'
    )
    suite = tmp_path / "own.toml"
    suite.write_text(text)
    code, out, err = call("run", suite, "--method", "shift", "--store", tmp_path / "s", "-f", "md")
    assert code == 0, err
    assert "KID" in out
    assert "Set evaluator: shine (threshold 0.25)" in out
    suite.write_text(text.replace('"shine"', '"shien"'))
    code, _, err = call("run", suite, "--method", "shift", "--store", tmp_path / "s")
    assert code == 2
    assert "shine" in err


def test_it_is_listed_shown_and_checked(call, sets):
    assert "shine" in call("list", "set_evaluators")[1]
    facts = json.loads(call("show", "set_evaluator/shine", "--json")[1])
    assert facts["kind"] == "set_evaluator"
    assert facts["parameters"]


# ---------------------------------------------------------------- the board
def filled(metric, values):
    """Return a table of two methods whose retained images have the given values of a metric, by method."""
    table = score_table(["unedited", "prompt-swap", "m"], [f"c{i}" for i in range(9)], lambda *_: True)
    return validate(table.assign(**{metric: table["method"].map(values).astype(float)}))


@pytest.mark.parametrize("metric", SET_METRICS)
def test_every_metric_is_a_column_with_direction_and_range(metric):
    info = COLUMNS[metric]
    assert info.low < (np.inf if info.high is None else info.high)
    board = make_board(
        filled(metric, {"unedited": 0.0, "prompt-swap": 0.0, "m": 0.5}), title="t", columns=(metric,), model=MODEL
    )
    cells = {row.method: row.cells[metric] for row in board.rows}
    assert cells["m"].value == pytest.approx(0.5)
    assert cells["m"].n_images == 9 * 8 * 8
    assert metric in OF_SETS


def test_blank_images_of_forgotten_concepts_have_a_column_of_their_own():
    table = filled("blank_rate", {"unedited": 0.0, "prompt-swap": 0.0, "m": 0.0})
    table.loc[(table["method"] == "m") & (table["role"] == "forget") & (table["seed"] == 0), "blank_rate"] = 1.0
    board = make_board(table, title="t", columns=("blank_rate", "blank_rate_forgotten"), model=MODEL)
    cells = next(row for row in board.rows if row.method == "m").cells
    assert (cells["blank_rate"].value, cells["blank_rate_forgotten"].value) == (0.0, 0.5)


def test_without_values_the_cell_says_why():
    board = make_board(
        score_table(["unedited", "m"], ["a", "b"], lambda *_: True), title="t", columns=("kid",), model=MODEL
    )
    assert "no set evaluator" in board.rows[0].cells["kid"].note


def test_a_set_column_can_rank():
    table = filled("kid", {"unedited": 0.0, "prompt-swap": 0.0, "m": 0.2})
    other = table[table["method"] == "m"].assign(method="n", edit_key=lambda t: t["edit_key"] + "n", kid=0.1)
    board = make_board(validate(pd.concat([table, other])), title="t", columns=("kid",), model=MODEL, rank_by="kid")
    assert [row.method for row in board.rows if not row.control] == ["n", "m"]
