"""The gates are measured by what a judge answers: here judges and generators whose answers are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from unlearnbench_emojiworld.dataset import EmojiWorld
from unlearnbench_emojiworld.gates.drawn import concept_gates, coverage_gate
from unlearnbench_emojiworld.gates.heldout import HeldoutRenders, judge_gate
from unlearnbench_emojiworld.gates.instrument import Answers
from unlearnbench_emojiworld.gates.report import Gates, markdown, to_json
from unlearnbench_emojiworld.world import World


@pytest.fixture(scope="module")
def world():
    return World.load()


@pytest.fixture(scope="module")
def dataset():
    return EmojiWorld()


class KnowingJudge:
    """Answers from a list of (subject, style) that goes with the images, wrong where told."""

    name = "knowing"

    def __init__(self, truth, *, wrong=(), names=True):
        self.truth, self.wrong, self.names = truth, set(wrong), names

    def ask(self, images, concept):
        column = int(concept.kind == "style")
        seen = np.array([pair[column] for pair in self.truth])
        assert len(images) == len(seen)
        yes = (seen == concept.id) ^ np.isin(np.arange(len(seen)), list(self.wrong))
        return Answers(yes, seen if self.names else np.array(["yes" if y else "no" for y in yes]), 0)


def test_heldout_renders_are_the_same_every_time_and_know_what_they_show(world):
    first, second = HeldoutRenders.make(world, 8, 16), HeldoutRenders.make(world, 8, 16)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first.images, second.images, strict=True))
    assert first.images[0].size == (16, 16)
    assert set(first.shows["subject"]) <= set(world.subjects)
    assert set(first.shows["style"]) <= set(world.styles)


def test_sensitivity_and_false_positives_are_shares_of_the_right_renders(dataset):
    truth = [("apple", "clay"), ("apple", "flat"), ("dog", "clay"), ("dog", "ink"), ("bird", "ink")]
    renders = HeldoutRenders(
        [Image.new("RGB", (4, 4))] * 5,
        {"subject": np.array([t[0] for t in truth]), "style": np.array([t[1] for t in truth])},
    )
    concepts = {name: dataset.concepts[name] for name in ("apple", "clay")}
    gate = judge_gate(KnowingJudge(truth, wrong=[1, 4]), concepts, renders)
    apple, clay = gate.concepts
    assert (apple.sensitivity, apple.false_positive) == (0.5, pytest.approx(1 / 3))
    assert (clay.sensitivity, clay.false_positive) == (1.0, pytest.approx(2 / 3))
    assert (gate.subjects_named, gate.styles_named) == (1.0, 1.0)


def test_a_judge_that_names_no_class_has_no_share_of_named_renders(dataset):
    truth = [("apple", "clay"), ("dog", "ink")]
    renders = HeldoutRenders(
        [Image.new("RGB", (4, 4))] * 2, {"subject": np.array(["apple", "dog"]), "style": np.array(["clay", "ink"])}
    )
    gate = judge_gate(KnowingJudge(truth, names=False), {"apple": dataset.concepts["apple"]}, renders)
    assert math.isnan(gate.subjects_named)


class PaintedGenerator:
    """Remembers what it was asked for and returns images of the number of each job."""

    def __init__(self):
        self.asked = []

    def draw(self, prompts, seeds):
        self.asked.append((tuple(prompts), tuple(seeds)))
        return [Image.new("RGB", (2, 2), (n % 256, 0, 0)) for n in range(len(prompts) * len(seeds))]


class DirectOnlyJudge:
    """Says yes to the first half of the images: those of the direct prompts."""

    def ask(self, images, concept):
        return Answers(np.arange(len(images)) < len(images) // 2, np.array(["?"] * len(images)), 0)


def test_hit_rates_are_split_by_prompt_kind(dataset):
    generator = PaintedGenerator()
    gates = concept_gates(DirectOnlyJudge(), generator, dataset, [3, 4])
    assert [g.concept for g in gates] == list(dataset.concepts)
    assert {(g.direct, g.indirect, g.images) for g in gates} == {(1.0, 0.0, 20)}
    assert generator.asked[0] == (tuple(p.text for p in dataset.prompts("apple")), (3, 4))


def test_coverage_asks_for_every_subject_in_every_style(world, dataset, tmp_path):
    pairs = [(subject, style) for subject in world.subjects for style in world.styles]
    seen = [("dog", style) if subject == "apple" and style == "ink" else (subject, style) for subject, style in pairs]
    gate = coverage_gate(KnowingJudge(seen), PaintedGenerator(), world, dataset, tmp_path / "grid.png")
    assert gate.images == len(pairs)
    assert gate.subjects_named == pytest.approx(1 - 1 / len(pairs))
    assert gate.styles_named == 1.0
    assert gate.weakest == {"apple": pytest.approx(0.8)}
    evaluated = sum(subject in dataset.concepts for subject in world.subjects)
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (4 * evaluated, 4 * len(world.styles))


def test_the_report_says_what_could_not_be_measured(dataset, world, tmp_path):
    truth = [("apple", "clay"), ("dog", "ink")]
    renders = HeldoutRenders(
        [Image.new("RGB", (4, 4))] * 2, {"subject": np.array(["apple", "dog"]), "style": np.array(["clay", "ink"])}
    )
    judge = judge_gate(KnowingJudge(truth, names=False), dataset.concepts, renders)
    drawn = concept_gates(DirectOnlyJudge(), PaintedGenerator(), dataset, [0])
    pairs = [(subject, style) for subject in world.subjects for style in world.styles]
    coverage = coverage_gate(KnowingJudge(pairs), PaintedGenerator(), world, dataset, tmp_path / "grid.png")
    sampler = {"scheduler": "ddim", "steps": 20, "guidance": 4.0}
    gates = Gates("emoji20", sampler, 1, judge, drawn, coverage, 0.2, 2, {"unet": 1}, 1.5)
    assert json.loads(to_json(gates))["judge"]["subjects_named"] is None
    text = markdown(gates)
    assert "| judge names the subject of a held-out render | nan |" in text
    assert "| direct hit rate, mean (least) over concepts | 1.000 (1.000) |" in text
    assert all(f"\n| {concept} | " in text for concept in dataset.concepts)
