"""Moderating and debiasing: the values, the loop, and both through the method."""

import math

import pytest
import torch

from unlearnbench.api import Attribute, EditPair, ForgetConcept, Request
from unlearnbench.spec import EditTask, Origin
from unlearnbench.testing import tiny_model, try_edit
from unlearnbench_uce import method as module
from unlearnbench_uce.debias import balance, directions, refit, shift
from unlearnbench_uce.method import UCE
from unlearnbench_uce.params import UCEParams
from unlearnbench_uce.shares import attribute_question
from unlearnbench_uce.solve import solve


def attribute(name, desired=0.5):
    return Attribute(id=name, display=f"a {name}", prompt=f"a {name} cat", desired=desired)


CAT = ForgetConcept(
    id="cat", kind="object", name="cat", target="cat", attributes=(attribute("red"), attribute("blue")),
    pairs=(EditPair(prompt="a photo of cat", target="a red cat"), EditPair(prompt="cat on a tree", target="blue cat")),
)  # fmt: skip
DOG = ForgetConcept(
    id="dog", kind="object", name="dog", target="dog", attributes=(attribute("green"), attribute("tree"))
)
REQUEST = Request(task="debias", forget=(CAT,), retain_names=("bird", "apple"))


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture
def asked(monkeypatch):
    """Take the place of images and classifier: shares by concept and iteration, from a function; return the calls."""
    calls = []

    def stub(answer):
        class Stub:
            def __init__(self, model, params, ctx):
                self.model = model

            def __call__(self, iteration, concepts):
                calls.append((iteration, [c.id for c in concepts]))
                return [answer(iteration, concept) for concept in concepts]

        monkeypatch.setattr(module, "Shares", Stub)
        return calls

    return stub


def last(model, text):
    embedding = model.encode([text])
    return embedding.states[0, int(embedding.last)].double()


def weights_of(model):
    return {
        f"unet.{name}.{part}.weight": getattr(m, part).weight.detach().double().clone()
        for name, m in model.cross_attention().items()
        for part in ("to_k", "to_v")
    }


def run(model, request=REQUEST, **params):
    return try_edit(UCE(UCEParams(**params)), model, request)


# ---------------------------------------------------------------- moderate
def test_moderating_maps_onto_the_empty_prompt(model):
    knife = ForgetConcept(id="red", kind="object", name="red", target="blue")
    erase, _ = run(model, Request(forget=(knife,)))
    moderated, _ = run(model, Request(task="moderate", forget=(knife,)))
    empty, _ = run(model, Request(forget=(knife,)), guide="")
    assert all(torch.equal(moderated[name], empty[name]) for name in moderated)
    assert any(not torch.equal(moderated[name], erase[name]) for name in moderated)
    to_target, _ = run(model, Request(task="moderate", forget=(knife,)), guide="target")
    assert all(torch.equal(to_target[name], erase[name]) for name in erase)


# ---------------------------------------------------------------- T-UCE-10
def test_t_uce_10_the_values_turn_towards_what_is_shown_too_rarely(model, asked):
    asked(lambda iteration, concept: [0.1, 0.9])
    old = weights_of(model)
    changed, report = run(model, iterations=1, eta=1.0)
    c, red, blue = (last(model, text) for text in ("cat", "a red", "a blue"))

    def cosine(a, b):
        return float(torch.dot(a, b) / (a.norm() * b.norm()))

    for name, W in old.items():
        new = changed[name].double()
        moved = new @ c - W @ c
        rare, common = W @ red, W @ blue
        assert torch.dot(moved, rare - common) > 0
        assert cosine(new @ c, rare - common) > cosine(W @ c, rare - common)
    assert report["alpha"].tolist() == [[pytest.approx(0.4), pytest.approx(-0.4)]]


@pytest.mark.parametrize(("shares", "towards"), [([0.1, 0.5], True), ([0.9, 0.5], False)])
def test_t_uce_10_the_value_of_the_concept_comes_closer_to_what_is_rare_and_leaves_what_is_common(
    model, asked, shares, towards
):
    """One attribute is off its share of one half, the other is not: alpha's sign is that of desired minus current."""
    asked(lambda iteration, concept: shares)
    old = weights_of(model)
    changed, report = run(model, iterations=1, eta=1.0)
    c, red = last(model, "cat"), last(model, "a red")
    for name, W in old.items():
        before, after = (torch.cosine_similarity(V @ c, W @ red, dim=0) for V in (W, changed[name].double()))
        assert bool(after > before) is towards
    assert report["alpha"].tolist() == [[pytest.approx(0.5 - shares[0]), 0.0]]


def test_t_uce_10_the_loop_stops_when_every_gap_is_below_the_tolerance(model, asked):
    calls = asked(lambda iteration, concept: [0.1 + 0.12 * iteration, 0.9 - 0.12 * iteration])
    _, report = run(model, iterations=30)
    assert [iteration for iteration, _ in calls] == [0, 1, 2, 3]  # shares .10, .22, .34, .46
    assert report["balanced"] == [True]
    assert report["alpha"][0, 0] == pytest.approx(0.1 * (0.4 + 0.28 + 0.16))
    assert len(report["shares"]) == 4


def test_the_loop_ends_after_the_given_number_of_iterations(model, asked):
    calls = asked(lambda iteration, concept: [1.0, 0.0])
    _, report = run(model, iterations=3, eta=0.5)
    assert len(calls) == 3
    assert report["balanced"] == [False]
    assert report["alpha"].tolist() == [[pytest.approx(-0.75), pytest.approx(0.75)]]


def test_a_balanced_model_is_left_alone(model, asked):
    asked(lambda iteration, concept: [0.52, 0.48])
    changed, report = run(model)
    assert not changed
    assert report["balanced"] == [True]


# ---------------------------------------------------------------- the loop
def test_alpha_moves_from_current_to_desired_and_stays_where_nothing_was_seen():
    fitted = []
    state = balance(
        (CAT, DOG), lambda alpha: fitted.append(alpha.clone()),
        lambda number, concepts: [[0.2, 0.8] if c.id == "cat" else [math.nan, math.nan] for c in concepts],
        eta=0.5, tolerance=0.05, iterations=2, recheck=True,
    )  # fmt: skip
    assert [alpha.tolist() for alpha in fitted] == [
        [[pytest.approx(0.15), pytest.approx(-0.15)], [0.0, 0.0]],
        [[pytest.approx(0.3), pytest.approx(-0.3)], [0.0, 0.0]],
    ]
    assert state.balanced == [False, False]


@pytest.mark.parametrize("recheck", [True, False])
def test_balanced_concepts_are_asked_again_if_wished(recheck):
    calls = []

    def measure(number, concepts):
        calls.append([c.id for c in concepts])
        return [[0.5, 0.5] if c.id == "cat" and number == 0 else [0.3, 0.7] for c in concepts]

    state = balance((CAT, DOG), lambda _: None, measure, eta=1.0, tolerance=0.05, iterations=2, recheck=recheck)
    assert calls == [["cat", "dog"], ["cat", "dog"] if recheck else ["dog"]]
    assert state.alpha[0].tolist() == ([pytest.approx(0.2), pytest.approx(-0.2)] if recheck else [0.0, 0.0])
    assert state.shares[1][0] == ([0.3, 0.7] if recheck else [0.5, 0.5])


def test_three_attributes_and_unequal_shares():
    three = CAT.model_copy(update={"attributes": (attribute("a", 0.2), attribute("b", 0.3), attribute("c", 0.5))})
    state = balance(
        (three, DOG), lambda _: None, lambda n, cs: [[0.0, 0.5, 0.5][: len(c.attributes)] for c in cs],
        eta=1.0, tolerance=0.05, iterations=1, recheck=True,
    )  # fmt: skip
    assert state.alpha.tolist() == [
        [pytest.approx(0.2), pytest.approx(-0.2), 0.0],
        [pytest.approx(0.5), 0.0, 0.0],
    ]


# ---------------------------------------------------------------- the values
@pytest.mark.parametrize("retain", ["none", "names"])
def test_every_refit_is_the_closed_form_from_the_original_weights(model, asked, retain):
    asked(lambda iteration, concept: [0.2, 0.8])
    old = weights_of(model)
    changed, report = run(model, iterations=3, retain=retain, lamb=0.3)
    c, red, blue = (last(model, text) for text in ("cat", "a red", "a blue"))
    alpha = report["alpha"][0]
    kept = [last(model, name) for name in ("bird", "apple")] if retain == "names" else []
    A = 0.3 * torch.eye(32).double() + sum(torch.outer(v, v) for v in (c, *kept))
    for name, W in old.items():
        target = W @ (c + alpha[0] * red + alpha[1] * blue)
        numerator = 0.3 * W + torch.outer(target, c) + sum(torch.outer(W @ v, v) for v in kept)
        torch.testing.assert_close(changed[name].double(), numerator @ torch.linalg.inv(A), rtol=1e-4, atol=1e-5)


def test_several_concepts_share_one_solve(model, asked):
    asked(lambda iteration, concept: [0.2, 0.8] if concept.id == "cat" else [0.9, 0.1])
    old = weights_of(model)
    changed, report = run(model, Request(task="debias", forget=(CAT, DOG)), iterations=1, eta=1.0)
    cat, dog = last(model, "cat"), last(model, "dog")
    C = torch.stack([cat, dog], dim=1)
    add = torch.stack(
        [0.3 * last(model, "a red") - 0.3 * last(model, "a blue"),
         -0.4 * last(model, "a green") + 0.4 * last(model, "a tree")], dim=1
    )  # fmt: skip
    M = add @ C.T @ torch.linalg.inv(0.5 * torch.eye(32).double() + C @ C.T)
    for name, W in old.items():
        torch.testing.assert_close(changed[name].double(), W + W @ M, rtol=1e-4, atol=1e-5)
    assert report["edit_columns"] == 2


@pytest.mark.parametrize("tokens", ["last", "suffix", "all"])
def test_unit_attributes_are_as_long_as_the_concept(model, tokens):
    found = directions(model, (CAT,), [["cat", "a photo of a cat"]], tokens, empty_anchor="bos")
    W = torch.randn(7, 32, generator=torch.Generator().manual_seed(0))
    alpha = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
    raw, unit = (shift(W, found, alpha, scale) for scale in ("raw", "unit"))
    for number in range(2):
        own = found.block == number
        assert float(unit[:, own].norm()) == pytest.approx(0.5 * float((W @ found.edit[:, own]).norm()), rel=1e-4)
        ratio = unit[:, own] / raw[:, own]
        torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-3, atol=1e-3)


def test_suffixes_of_a_concept_and_its_attributes_have_one_length(model):
    found = directions(model, (CAT,), [["cat"]], "suffix", empty_anchor="bos")
    embedding = model.encode(["cat", "a red", "a blue"])
    length = 40 - int(embedding.last.max())
    assert found.edit.shape == (32, length)
    assert found.attributes.shape == (2, 32, length)
    i = int(embedding.last[1])
    torch.testing.assert_close(found.attributes[0], embedding.states[1, i : i + length].T, rtol=0, atol=1e-5)


def test_no_alpha_is_no_change(model):
    found = directions(model, (CAT,), [["cat"]], "last", empty_anchor="bos")
    W = torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    S = solve(found.edit, [], 0, erase_scale=1.0, preserve_scale=1.0, lamb=0.5)
    new = [torch.zeros_like(W)]
    refit(new, [W], found, S, torch.zeros(1, 2, dtype=torch.float64), "unit")
    assert torch.equal(new[0], W)


# ---------------------------------------------------------------- presets, supports, identity
def test_the_preset_of_2023_preserves_the_other_professions_and_scales_attributes(model, asked):
    asked(lambda iteration, concept: [0.2, 0.8])
    _, report = run(model, preset="uce-2023", iterations=1)
    assert report["preserve_columns"] == 3 * 40  # '', bird, apple
    assert module.resolve(UCEParams(preset="uce-2023"), REQUEST).attribute_scale == "unit"
    assert module.resolve(UCEParams(), REQUEST).attribute_scale == "raw"


def test_edit_prompts_can_carry_the_attributes(model, asked):
    asked(lambda iteration, concept: [0.2, 0.8])
    _, report = run(model, edit_with="pairs", iterations=1)
    assert report["edit_columns"] == 2


def test_supports_names_the_reason(model):
    assert UCE(UCEParams()).refusal(model.info, REQUEST) is None
    bare = Request(task="debias", forget=(CAT.model_copy(update={"attributes": ()}),))
    assert "no attributes" in UCE(UCEParams()).refusal(model.info, bare)
    assert "tensor" in UCE(UCEParams(technique="tensor")).refusal(model.info, REQUEST)
    assert "'data'" in UCE(UCEParams()).refusal(model.info, REQUEST.model_copy(update={"task": "data"}))


def test_the_classifier_enters_the_key_of_a_debiasing_edit(monkeypatch):
    digests = iter(["ub1:one", "ub1:two"])
    monkeypatch.setattr("unlearnbench_clip.evaluator.Clip.fingerprint", lambda self: next(digests))
    keys = set()
    for _ in range(2):
        task = EditTask(
            method="uce", origin=Origin(distribution="x", version="1", source="ub1:x"), params={}, request=REQUEST,
            model="ub1:m", seed=0, reads=dict(UCEParams().reads(REQUEST)),
        )  # fmt: skip
        keys.add(task.key())
    assert len(keys) == 2
    assert UCEParams().reads(Request(forget=(CAT,))) == {}


def test_the_question_chooses_among_the_attributes():
    question = attribute_question(CAT)
    assert question.classes == {"red": "a red", "blue": "a blue"}
    assert (question.concept, question.target.id) == ("red", "blue")


# ---------------------------------------------------------------- with images and a classifier
def test_images_are_made_and_judged_without_a_stub(model, monkeypatch):
    seen = []

    class Judge:
        def __init__(self, params):
            assert (params.model, params.template) == ("auto", "{} there")

        def setup(self, ctx):
            pass

        def score(self, samples, question):
            from unlearnbench.api import Score

            seen.append([s.image.tobytes() for s in samples])
            answers = ["red"] * 3 + ["blue"] + ["neither"] * (len(samples) - 4)
            return [Score(p_yes=0.5, label=True, answer=a) for a in answers]

    monkeypatch.setattr("unlearnbench_uce.shares.Clip", Judge)
    params = {"iterations": 2, "images": 6, "sampling_steps": 2, "judge_template": "{} there"}
    changed, report = run(model, **params)
    assert changed
    assert report["shares"] == [[[0.75, 0.25]], [[0.75, 0.25]]]
    assert len(seen) == 2
    assert len(set(seen[0] + seen[1])) == 12  # other seeds in every iteration
    again, _ = run(model, **params)
    assert all(torch.equal(changed[name], again[name]) for name in changed)
    assert seen[:2] == seen[2:]
