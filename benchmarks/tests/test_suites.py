"""The suites for Stable Diffusion: what they ask for, and that they can be planned before anything is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import unlearnbench_emojiworld
from unlearnbench.plugins import load_plugins
from unlearnbench.run.cost import estimate
from unlearnbench.run.session import Session

IMAGES = {
    "core20": 8000,
    "core20-clip": 8000,
    "imagenette10": 5000,
    "artists": 3000,
    "i2p": 5 * 10 * 4,
    "own-concept": 8 * 10 * 4,
}


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture
def planned(plugins, monkeypatch):
    def planned(name, *methods):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        session = Session.open(plugins, name, absent=True)
        return session.plan(methods, seed=0, dtype="float32")

    return planned


@pytest.mark.parametrize("name", IMAGES)
def test_a_row_of_a_method_has_the_images_that_the_readme_says(planned, name):
    plan = planned(name, "uce")
    row = {cell.sample: plan.samples[cell.sample].images for cell in plan.cells if cell.method == "uce"}
    assert sum(row.values()) == IMAGES[name]
    assert {task.sampler.steps for task in plan.samples.values()} == {50}


@pytest.mark.parametrize("name", IMAGES)
def test_hours_and_disk_are_estimated_and_known_methods_have_figures(planned, plugins, name):
    plan = planned(name, "uce")
    found = estimate(plan, None)
    assert found.hardware
    assert found.unknown == ()
    assert set(plan.suite.cost.edit_seconds) <= {entry.spec.name for entry in plugins.methods}
    assert found.unet_calls == found.images * 100


def test_both_judges_of_core20_look_at_the_same_images(planned):
    one, other = planned("core20", "uce"), planned("core20-clip", "uce")
    assert set(one.samples) == set(other.samples)
    assert not set(one.scores) & set(other.scores)
    assert one.suite.forget == one.suite.evaluate == other.suite.evaluate


def test_debias36_asks_for_the_balance_of_every_profession(planned):
    plan = planned("debias36")
    assert len(plan.suite.forget) == 36
    assert plan.suite.task == "debias"
    assert all(len(task.question.attributes) == 2 for task in plan.scores.values())
    # Fifty images of a profession: chance alone gives a gap of sqrt(2 / 50 pi).
    assert {plan.samples[cell.sample].images for cell in plan.cells} == {50}


@pytest.mark.parametrize(
    ("name", "method", "task", "images"),
    [
        ("emoji-debias", "uce", "debias", 10 * 10 * 5 * 10),
        ("emoji-moderate", "uce", "moderate", 5 * 13 * 10 * 2),
        ("emoji-data", "siss", "data", 6 * 14 * 10 * 2),
    ],
)
def test_suites_of_the_other_tasks_on_the_embedded_model(planned, name, method, task, images):
    plan = planned(name, method)
    assert plan.suite.task == task
    row = {cell.sample: plan.samples[cell.sample].images for cell in plan.cells if cell.method == method}
    assert sum(row.values()) == images
    assert {edit.request.task for edit in plan.edits.values()} == {task}
    assert len(plan.edits) == len(plan.suite.forget)
    forgotten = [plan.scores[cell.score].question for cell in plan.cells if cell.role == "forget"]
    assert all(len(question.attributes) == (2 if task == "debias" else 0) for question in forgotten)
    assert all(len(question.images) == (1 if task == "data" else 0) for question in forgotten)


@pytest.mark.parametrize(
    ("name", "gate"),
    [
        ("emoji-debias", "skew of professions"),
        ("emoji-moderate", "emoji-moderate, judge clip: direct hit rate"),
        ("emoji-data", "planted images reproduced"),
    ],
)
def test_a_suite_of_which_the_weights_miss_a_gate_says_so(plugins, name, gate):
    gates = json.loads((Path(unlearnbench_emojiworld.__file__).parent / "reports" / "gates.json").read_text())["gates"]
    verdicts = {one["verdict"] for one in gates if one["name"].startswith(gate)}
    source = next(entry.spec.path for entry in plugins.suites if entry.spec.name == name)
    assert ("gates report" in source.read_text(encoding="utf-8")) is (verdicts != {"met"})
