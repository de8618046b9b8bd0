"""What is measured of an edit, against oracles that need no model, and on edits whose effects are known."""

from __future__ import annotations

import pytest
import torch

from unlearnbench.api import EditPair, ForgetConcept, Request, Sampling
from unlearnbench.edits import cpu_copy, same_bits
from unlearnbench.run.effects import measure, rank
from unlearnbench.run.responses import PAIRS, RETAIN, answers, prompts_of
from unlearnbench.testing import tiny_model

PAIR = EditPair(prompt="a photo of a cat", target="a photo of a dog")
CAT = ForgetConcept(id="cat", kind="object", name="cat", target="dog", pairs=(PAIR,))
REQUEST = Request(forget=(CAT,), retain=("a red apple", "the sun in a blue sky", "a house"))


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def keys_and_values(model):
    return {
        name: cpu_copy(t) for name, t in model.tensors().items() if ".attn2.to_k." in name or ".attn2.to_v." in name
    }


def effects(model, changed, sampling=None, request=REQUEST):
    return measure(model, changed, sampling, request).effects


# ---------------------------------------------------------------- answers
def test_what_changes_nothing_moves_nothing(model):
    found = effects(model, {})
    assert found.edit_response == pytest.approx(0.0, abs=1e-4)
    assert found.retain_drift == pytest.approx(0.0, abs=1e-4)
    assert found.target_residual == pytest.approx(1.0, abs=1e-4)
    assert found.share_changed == 0.0
    assert found.nullspace_leakage is None


def test_without_keys_and_values_no_text_arrives(model):
    found = effects(model, {name: torch.zeros_like(value) for name, value in keys_and_values(model).items()})
    assert 0.9 < found.retain_drift < 1.5
    assert found.change_norm == pytest.approx(1.0)


def test_a_rewritten_prompt_is_answered_as_its_target(model):
    found = effects(model, {}, Sampling(rewrite={"cat": "dog"}))
    assert found.edit_response == pytest.approx(1.0, abs=1e-4)
    assert found.target_residual == pytest.approx(0.0, abs=1e-4)
    assert found.retain_drift == pytest.approx(0.0, abs=1e-4)


def test_a_negative_prompt_moves_what_is_asked(model):
    found = effects(model, {}, Sampling(negative_prompt="cat"))
    assert found.edit_response > 0.1
    assert found.retain_drift > 0.1


def test_answers_are_those_of_classifier_free_guidance(model):
    found = answers(model, ["a cat", "a dog"])
    conditional, empty = found.prompts["a dog"], found.empty[0]
    assert torch.allclose(found.guided(["a dog"])[0], 7.5 * conditional - 6.5 * empty, atol=1e-5)
    assert torch.allclose(found.text(["a dog"])[0], 7.5 * (conditional - empty), atol=1e-5)


def test_measuring_leaves_the_model_as_it_was(model):
    before = {name: cpu_copy(tensor) for name, tensor in model.tensors().items()}
    effects(model, {name: value + 1.0 for name, value in keys_and_values(model).items()})
    assert all(same_bits(tensor, before[name]) for name, tensor in model.tensors().items())
    assert not any(hooks for m in model.unet.modules() for k, hooks in vars(m).items() if k.endswith("_hooks"))


def test_an_edit_that_makes_nan_of_finite_weights_is_told(model):
    huge = {name: torch.full_like(value, 3e38) for name, value in keys_and_values(model).items()}
    assert "not finite" in measure(model, huge, None, REQUEST).faults[0]


# ---------------------------------------------------------------- which prompts
def test_prompts_come_evenly_from_all_concepts_and_never_twice(model):
    pairs = tuple(EditPair(prompt=f"a {i} cat", target=f"a {i} dog") for i in range(20))
    retain = tuple(f"prompt {i}" for i in range(100))
    concepts = tuple(CAT.model_copy(update={"id": name, "pairs": pairs}) for name in ("cat", "kitten"))
    found = prompts_of(Request(forget=concepts, retain=retain))
    assert (len(found.edit), len(found.target), len(found.retain)) == (PAIRS, PAIRS, RETAIN)
    assert found.retain[0] == "prompt 0"
    assert found.retain[-1] == f"prompt {7 * 100 // 8}"


def test_names_and_targets_stand_in_for_prompts_that_are_not_given():
    bare = CAT.model_copy(update={"pairs": (), "target": ""})
    found = prompts_of(Request(forget=(bare,)))
    assert (found.edit, found.target, found.retain) == (("cat",), ("",), ("",))


def test_a_concept_that_is_its_own_target_has_no_way_to_go(model):
    itself = CAT.model_copy(update={"pairs": (), "target": "cat"})
    found = effects(model, keys_and_values(model), request=Request(forget=(itself,), retain=("a tree",)))
    assert found.edit_response is None
    assert found.retain_drift is not None


# ---------------------------------------------------------------- keys
def test_leakage_is_what_retain_keys_get_of_a_change(model):
    (name, value) = next(iter(keys_and_values(model).items()))
    keys = model.encode(REQUEST.retain).states.reshape(-1, value.shape[1]).double()
    _, _, right = torch.linalg.svd(keys, full_matrices=True)
    # The last direction is that of the layer norm's mean, in which no text has anything; the one before is smallest.
    change = torch.outer(torch.ones(len(value)).double(), right[-2])
    leaky = torch.outer(torch.ones(len(value)).double(), right[0])
    low = effects(model, {name: (value + change).to(value.dtype)}).nullspace_leakage
    high = effects(model, {name: (value + leaky).to(value.dtype)}).nullspace_leakage
    assert low < high

    def mean(prompts):
        k = model.encode(prompts).states.double()
        return (k @ change.T).square().sum(-1).mean()

    expected = (mean(REQUEST.retain) / mean([PAIR.prompt])).sqrt()
    assert low == pytest.approx(float(expected), rel=1e-3)


def test_leakage_of_the_text_encoder_is_measured_on_its_own_layers(model):
    name = next(n for n in model.tensors() if n.endswith("layers.1.mlp.fc2.weight"))
    value = cpu_copy(model.tensors()[name])
    assert effects(model, {name: value * 1.1}).nullspace_leakage == pytest.approx(1.0, abs=0.3)


# ---------------------------------------------------------------- weights
def test_norm_and_share_count_what_changed(model):
    name = "unet.conv_in.weight"
    value = cpu_copy(model.tensors()[name])
    value[0, 0, 0, 0] += 2.0
    found = measure(model, {name: value}, None, REQUEST)
    size = float(model.tensors()[name].norm())
    assert found.effects.change_norm == pytest.approx(2.0 / size, rel=1e-5)
    assert found.changes == {name: pytest.approx(2.0 / size, rel=1e-5)}
    assert found.effects.share_changed == pytest.approx(1 / model.info.parameters)
    assert found.effects.change_rank is None


@pytest.mark.parametrize("shape", [(20, 64), (64, 20), (32, 32)])
@pytest.mark.parametrize("true", [0, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_rank_is_that_of_the_change_before_rounding(shape, true, dtype):
    generator = torch.Generator().manual_seed(true)
    base = torch.randn(shape, generator=generator).to(dtype)
    change = torch.randn(shape[0], true, generator=generator) @ torch.randn(true, shape[1], generator=generator)
    edited = (base.double() + change.double()).to(dtype)
    assert rank(edited.double() - base.double(), edited) == true


def test_a_tensor_that_was_zero_has_no_relative_change(model):
    name = next(n for n, t in model.tensors().items() if not t.any())
    found = measure(model, {name: torch.ones_like(model.tensors()[name]).detach()}, None, REQUEST)
    assert found.changes == {name: None}
