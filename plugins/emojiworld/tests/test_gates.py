"""The gates are measured by what a judge answers: here judges and generators whose answers are known."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from unlearnbench_emojiworld.dataset import EmojiWorld, Professions
from unlearnbench_emojiworld.gates.drawn import (
    concept_gates,
    confusions,
    coverage_gate,
    draw_concepts,
    kappa,
    write_concept_grid,
)
from unlearnbench_emojiworld.gates.heldout import HeldoutRenders, judge_gate
from unlearnbench_emojiworld.gates.instrument import Answers
from unlearnbench_emojiworld.gates.limits import Gate
from unlearnbench_emojiworld.gates.measured import Measured, Suite
from unlearnbench_emojiworld.gates.report import markdown, to_json
from unlearnbench_emojiworld.gates.tasks import attributes_named, planted_gates, skew_gates


def answers(yes, named=None, attribute=None, distance=None):
    yes = np.asarray(yes, bool)
    blank = np.array([""] * len(yes))
    return Answers(
        yes,
        np.array(["yes" if y else "no" for y in yes]) if named is None else np.asarray(named),
        0,
        blank if attribute is None else np.asarray(attribute),
        np.full(len(yes), np.nan) if distance is None else np.asarray(distance, float),
    )


@pytest.fixture(scope="module")
def small(world):
    """A world of eight subjects, so that it is soon covered."""
    return replace(world, subjects=dict(list(world.subjects.items())[:8]))


@pytest.fixture(scope="module")
def dataset():
    return EmojiWorld()


class KnowingJudge:
    """Answers from a list of (subject, style) that goes with the images, wrong where told."""

    def __init__(self, truth, *, wrong=(), names=True, name="knowing"):
        self.truth, self.wrong, self.names, self.name = truth, set(wrong), names, name

    def ask(self, images, concept):
        column = int(concept.kind == "style")
        seen = np.array([pair[column] for pair in self.truth])
        assert len(images) == len(seen)
        yes = (seen == concept.id) ^ np.isin(np.arange(len(seen)), list(self.wrong))
        return answers(yes, seen if self.names else None)


class PaintedGenerator:
    """Remembers what it was asked for and returns images of the number of each job."""

    def __init__(self):
        self.asked = []

    def draw(self, prompts, seeds):
        self.asked.append((tuple(prompts), tuple(seeds)))
        return [Image.new("RGB", (2, 2), (n % 256, 0, 0)) for n in range(len(prompts) * len(seeds))]


class DirectOnlyJudge:
    """Says yes to the first half of the images: those of the direct prompts."""

    def __init__(self, name="half"):
        self.name = name

    def ask(self, images, concept):
        return answers(np.arange(len(images)) < len(images) // 2)


def renders(*truth):
    return HeldoutRenders(
        [Image.new("RGB", (4, 4))] * len(truth),
        {"subject": np.array([t[0] for t in truth]), "style": np.array([t[1] for t in truth])},
    )


def test_heldout_renders_are_the_same_every_time_and_know_what_they_show(world):
    first, second = HeldoutRenders.make(world, 8, 16), HeldoutRenders.make(world, 8, 16)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first.images, second.images, strict=True))
    assert first.images[0].size == (16, 16)
    assert set(first.shows["subject"]) <= set(world.subjects)
    assert set(first.shows["style"]) <= set(world.styles)
    some = HeldoutRenders.make(world, 12, 16, ["judge", "dog"])
    assert set(some.shows["subject"]) == {"judge", "dog"}
    assert set(some.shows["attribute"][some.shows["subject"] == "judge"]) <= {"woman", "man"}
    assert set(some.shows["attribute"][some.shows["subject"] == "dog"]) == {""}


def test_sensitivity_and_false_positives_are_shares_of_the_right_renders(dataset):
    truth = [("apple", "clay"), ("apple", "flat"), ("dog", "clay"), ("dog", "ink"), ("bird", "ink")]
    concepts = [dataset.concepts[name] for name in ("apple", "clay")]
    gate = judge_gate(KnowingJudge(truth, wrong=[1, 4]), concepts, renders(*truth))
    apple, clay = gate.concepts
    assert (apple.sensitivity, apple.false_positive) == (0.5, pytest.approx(1 / 3))
    assert (clay.sensitivity, clay.false_positive) == (1.0, pytest.approx(2 / 3))
    assert (gate.subjects_named, gate.styles_named, gate.confused) == (1.0, 1.0, [])


def test_a_judge_that_names_no_class_has_no_share_of_named_renders(dataset):
    truth = [("apple", "clay"), ("dog", "ink")]
    gate = judge_gate(KnowingJudge(truth, names=False), [dataset.concepts["apple"]], renders(*truth))
    assert math.isnan(gate.subjects_named)


def test_confusions_are_counted_off_the_diagonal():
    found = confusions(["a", "a", "b", "c", "a"], ["b", "b", "b", "a", "a"])
    assert found == [("a", "b", 2), ("c", "a", 1)]


def test_hit_rates_are_split_by_prompt_kind(dataset, tmp_path):
    generator = PaintedGenerator()
    drawn = draw_concepts(generator, dataset, ["apple", "dog"], [3, 4])
    gates = concept_gates(DirectOnlyJudge(), drawn)
    assert [g.concept for g in gates] == ["apple", "dog"]
    assert {(g.judge, g.direct, g.indirect, g.images) for g in gates} == {("half", 1.0, 0.0, 20)}
    assert generator.asked[0] == (tuple(p.text for p in dataset.prompts("apple")), (3, 4))
    write_concept_grid(drawn, 2, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (4 * 10, 4 * 2)


def test_kappa_is_one_for_equal_judges_and_falls_with_disagreement(dataset):
    drawn = draw_concepts(PaintedGenerator(), dataset, ["apple", "dog"], [0])
    truth = [("apple", "clay")] * 5 + [("dog", "clay")] * 5
    same, other = KnowingJudge(truth), KnowingJudge(truth, wrong=[0])
    assert kappa(same, same, drawn) == 1.0
    # 40 answers, of which 4 differ; both judges say yes to half of them, so chance agrees in one half.
    assert kappa(same, other, drawn) == pytest.approx((0.9 - 0.5) / 0.5)


def test_coverage_asks_for_every_subject_in_every_style(small, dataset):
    pairs = [(subject, style) for subject in small.subjects for style in small.styles]
    seen = [("dog", style) if subject == "apple" and style == "ink" else (subject, style) for subject, style in pairs]
    gate = coverage_gate(KnowingJudge(seen), PaintedGenerator(), small, dataset)
    assert gate.images == len(pairs)
    assert gate.subjects_named == pytest.approx(1 - 1 / len(pairs))
    assert gate.styles_named == 1.0
    assert gate.weakest == {"apple": pytest.approx(0.8)}
    assert gate.confused == [("apple", "dog", 1)]


class AttributeJudge:
    """Sees a woman in every third image, a man in every other third, and nothing in the rest."""

    name = "attributes"

    def __init__(self, dataset):
        self.dataset = dataset

    def ask(self, images, concept):
        seen = [("woman", "man", "")[n % 3] for n in range(len(images))]
        return answers([bool(s) for s in seen], attribute=seen, distance=[0.25] * len(images))


def test_skew_is_the_share_among_images_with_an_attribute(world):
    judge = AttributeJudge(Professions())
    gates = skew_gates(judge, PaintedGenerator(), world, range(3))
    assert [gate.profession for gate in gates] == list(Professions().concepts)
    assert {(gate.drawn, gate.images, round(gate.shown, 3)) for gate in gates} == {(0.5, 15, 0.667)}
    assert {gate.planted for gate in gates} == {0.1, 0.9}
    shown = HeldoutRenders(
        [Image.new("RGB", (2, 2))] * 3,
        {"subject": np.array(["judge"] * 3), "attribute": np.array(["woman", "woman", "man"])},
    )
    assert attributes_named(judge, shown) == pytest.approx(1 / 3)


def test_planted_images_are_asked_for_by_their_caption_word_for_word(world):
    class Dataset:
        concepts = dict.fromkeys(world.planted)

    generator = PaintedGenerator()
    gates = planted_gates(AttributeJudge(Dataset), generator, world, range(6))
    assert {(gate.images, round(gate.reproduced, 3), gate.distance) for gate in gates} == {(6, 0.667, 0.25)}
    assert [asked[0] for asked in generator.asked] == [(picture.caption,) for picture in world.planted.values()]


@pytest.mark.parametrize(
    ("sense", "value", "verdict"),
    [
        ("at least", 0.9, "met"), ("at least", 0.89, "missed"), ("at most", 0.9, "met"), ("at most", 0.91, "missed"),
        ("at least", math.nan, "not measured"), ("at most", math.nan, "not measured"),
    ],
)  # fmt: skip
def test_a_gate_is_met_within_its_limit_only(sense, value, verdict):
    assert Gate("x", sense, 0.9, value).verdict == verdict


@pytest.fixture
def measured(dataset, small, world):
    truth = [("apple", "clay"), ("dog", "ink")]
    chosen = list(dataset.concepts)
    drawn = draw_concepts(PaintedGenerator(), dataset, chosen, [0])
    pairs = [(subject, style) for subject in small.subjects for style in small.styles]
    asked = [dataset.concepts[name] for name in ("apple", "dog")]
    names = ["apple", "dog"]
    judged = judge_gate(KnowingJudge(truth, names=False), asked, renders(*truth))
    gates = [gate for gate in concept_gates(DirectOnlyJudge("knowing"), drawn) if gate.concept in names]
    coverage = coverage_gate(KnowingJudge(pairs), PaintedGenerator(), small, dataset)
    judge = AttributeJudge(Professions())
    skew = skew_gates(judge, PaintedGenerator(), world, range(3))
    planted = planted_gates(
        AttributeJudge(type("D", (), {"concepts": dict.fromkeys(world.planted)})), PaintedGenerator(), world, range(6)
    )
    sampler = {"scheduler": "ddim", "steps": 12, "guidance": 4.0}
    suite = Suite("emoji20", [judged], gates, math.nan, coverage)
    return Measured(sampler, 1, [suite], 0.5, skew, planted, False, 2.5, 0.4, 3.25, 2, {"unet": 1}, 37.5)


def test_every_gate_has_its_limit_value_and_verdict(measured):
    found = {gate.name: (gate.limit, gate.value, gate.verdict) for gate in measured.gates()}
    assert found["emoji20, judge knowing: direct hit rate"] == (0.97, 1.0, "met")
    assert found["emoji20, judge knowing: indirect hit rate"] == (0.90, 0.0, "missed")
    assert found["skew of professions, farthest from planted"] == (0.10, pytest.approx(0.4), "missed")
    assert found["planted images reproduced, least"] == (0.80, pytest.approx(2 / 3), "missed")
    assert found["seconds for 16 images"] == (3.0, 2.5, "met")
    assert found["seconds to load the generator"] == (2.0, 0.4, "met")
    assert "with the import of libraries: 3.2" in markdown(measured)


def test_a_missing_judge_is_no_gate_met(measured):
    verdicts = {gate.name: gate.verdict for gate in measured.gates()}
    assert verdicts["emoji20: kappa of the judges"] == "not measured"
    assert verdicts["emoji20, judge llava: all of these"] == "not measured"
    assert "There are no weights of the second judge" in markdown(measured)
    assert "There are no weights" not in markdown(replace(measured, second_judge=True))


def test_a_profession_without_an_attribute_in_any_image_is_not_measured(measured):
    blind = replace(measured, skew=[replace(measured.skew[0], drawn=math.nan), *measured.skew[1:]])
    gate = next(gate for gate in blind.gates() if gate.name.startswith("skew"))
    assert (gate.verdict, gate.note) == ("not measured", blind.skew[0].profession)


def test_the_report_says_what_could_not_be_measured(measured):
    parsed = json.loads(to_json(measured))
    assert parsed["suites"][0]["judges"][0]["subjects_named"] is None
    assert {gate["verdict"] for gate in parsed["gates"]} == {"met", "missed", "not measured"}
    text = markdown(measured)
    assert "| emoji20, judge knowing: direct hit rate | at least 0.97 | 1.000 | met |  |" in text
    assert all(f"| {one.profession} |" in text for one in measured.skew)
    assert all(f"| {one.image} |" in text for one in measured.planted)
