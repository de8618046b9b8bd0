"""The method on a small Stable Diffusion, through the interface that the harness uses."""

import pytest
import torch
from pydantic import ValidationError

from unlearnbench.api import EditPair, ForgetConcept, ModelInfo, Request
from unlearnbench.editing.layers import captured
from unlearnbench.editing.prompts import edit_pairs, retained
from unlearnbench.edits import EditFile, read_edit, write_edit
from unlearnbench.errors import UserError
from unlearnbench.testing import edit_context, tiny_model, try_edit
from unlearnbench_alphaedit import session
from unlearnbench_alphaedit.encoder import fc2_layers, moments, states
from unlearnbench_alphaedit.method import AlphaEdit
from unlearnbench_alphaedit.params import AlphaEditParams

CAT = ForgetConcept(
    id="cat",
    kind="object",
    name="cat",
    target="dog",
    pairs=(
        EditPair(prompt="a photo of a cat", target="a photo of a dog"),
        EditPair(prompt="a red cat in the rain", target="a red dog in the rain"),
        EditPair(prompt="cat", target="dog"),
    ),
)
SKY = ForgetConcept(
    id="sky", kind="scene", name="sky", target="city", pairs=(EditPair(prompt="blue sky", target="blue city"),)
)
REQUEST = Request(forget=(CAT,), retain=("a photo of a bird", "a green tree", "A photo of  a CAT"))
FAST = {"edits": 1, "batch": 2, "inner_steps": 2, "latent_steps": 2, "min_dim": 16, "lamb": 0.05}


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def run(model, request=REQUEST, seed=0, **params):
    return try_edit(AlphaEdit(AlphaEditParams(**(FAST | params))), model, request, seed)


def weight(changed, layer):
    return changed[f"text_encoder.text_model.encoder.layers.{layer}.mlp.fc2.weight"]


def test_exactly_the_fc2_weights_of_all_layers_but_the_first_change(model):
    changed, report = run(model)
    assert set(changed) == {f"text_encoder.text_model.encoder.layers.{i}.mlp.fc2.weight" for i in (1, 2)}
    assert report["layers"] == [1, 2]
    assert all(change > 0 for change in report["weight_change"].values())


def test_layers_can_be_chosen(model):
    changed, _ = run(model, layers=(0, 2))
    assert {name.split(".")[4] for name in changed} == {"0", "2"}


def test_t_ae_10_bos_and_retain_outputs_of_each_edited_layer_stay(model):
    layers = fc2_layers(model.text_encoder)
    ids = model.tokenize(["a photo of a bird", "a green tree", "a photo of a dog"])[0]

    def outputs():
        with captured(layers) as seen, torch.no_grad():
            states(model, ids)
        return {number: output.clone() for number, (_, output) in seen.items()}

    before = outputs()
    # one prompt has 40 columns and leaves 24 of 64 dimensions exactly null
    request = Request(forget=(CAT,), retain=("a photo of a bird",))
    with model.edited():
        AlphaEdit(AlphaEditParams(**(FAST | {"null_rule": "rank", "min_dim": 24}))).edit(model, request, edit_context())
        after = outputs()
    for number in (1, 2):
        torch.testing.assert_close(after[number][:, 0], before[number][:, 0], rtol=0, atol=1e-5)  # BOS of all prompts
        torch.testing.assert_close(after[number][0], before[number][0], rtol=0, atol=1e-5)  # the retain prompt
        assert (after[number][1:] - before[number][1:]).abs().max() > 1e-3


def test_every_layer_has_its_own_null_space(model):
    changed, report = run(model)
    layers = fc2_layers(model.text_encoder)
    found = moments(model, layers, REQUEST.retain[:2])  # the third is an edit prompt
    assert report["retain_prompts"] == 2
    for number in (1, 2):
        values, vectors = torch.linalg.eigh(found[number].gram)
        Q = vectors[:, : report["null_dim"][str(number)]]
        delta = (weight(changed, number) - layers[number].weight).double()
        assert float((delta - delta @ Q @ Q.T).norm() / delta.norm()) < 1e-3
        share = float((values[: Q.shape[1]].clamp(min=0).sum() / values.sum()).sqrt())
        assert report["null_leakage"][str(number)] == pytest.approx(share, rel=1e-3, abs=1e-6)
        other = torch.linalg.eigh(found[3 - number].gram)[1][:, : Q.shape[1]]
        assert float((delta - delta @ other @ other.T).norm() / delta.norm()) > 0.1


def test_one_edit_is_the_closed_form_of_captured_keys_and_naive_values(model):
    """Follow the method step by step, d x d, in double precision."""
    lamb, seed = 0.05, 3
    changed, _ = run(model, values="naive", seed=seed, batch=5)
    rows = torch.randint(3, (5,), generator=edit_context(seed).generator("pairs", "cat", 0))
    prompts = [(CAT.pairs[int(i)].prompt, CAT.pairs[int(i)].target) for i in rows]
    layers = fc2_layers(model.text_encoder)

    def look(texts):
        with captured(layers) as seen, torch.no_grad():
            states(model, model.tokenize(texts)[0])
        return {n: tuple(x.flatten(0, 1).T.double() for x in pair) for n, pair in seen.items()}

    retain = moments(model, layers, REQUEST.retain[:2])
    targets = look([target for _, target in prompts])
    with model.edited():
        for number in (1, 2):
            layer = layers[number]
            K1 = look([prompt for prompt, _ in prompts])[number][0]
            W = layer.weight.detach().double()
            V1 = targets[number][1] - layer.bias.double()[:, None]
            gram = retain[number].gram
            values, vectors = torch.linalg.eigh(gram)
            dim = max(int((values < values.mean() / 90000).sum()), 16)
            P = vectors[:, :dim] @ vectors[:, :dim].T
            delta = (V1 - W @ K1) @ K1.T @ P @ torch.linalg.inv(K1 @ K1.T @ P + lamb * torch.eye(64).double())
            with torch.no_grad():
                layer.weight.copy_(W + delta)
            moved = float(delta.norm())
            assert float((weight(changed, number).double() - (W + delta)).norm()) < 1e-3 * moved
            assert moved > 1e-2


def test_without_projection_retain_and_edit_outputs_are_weighed(model):
    changed, report = run(model, projection=False, values="naive")
    assert set(changed) == {f"text_encoder.text_model.encoder.layers.{i}.mlp.fc2.weight" for i in (1, 2)}
    assert report["null_dim"] == {}


def test_edits_are_repeated(model):
    _, report = run(model, edits=3)
    assert [len(epoch) for epoch in report["losses"]["cat"]] == [2, 2, 2]
    assert all(len(curve) == 2 for epoch in report["losses"]["cat"] for curve in epoch)
    assert len(report["aligned"]["cat"]) == 3
    assert all(0 <= left < 1 for epoch in report["residual"]["cat"] for left in epoch)


def test_edits_repeat_exactly_with_one_seed_and_differ_with_another(model):
    first, _ = run(model, seed=1)
    second, _ = run(model, seed=1)
    other, _ = run(model, seed=2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_global_state_is_left_as_it_was(model):
    torch.manual_seed(5)
    before = (
        torch.get_rng_state(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        float(torch.tensor([1e-39]).double()),
    )
    run(model)
    after = (
        torch.get_rng_state(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        float(torch.tensor([1e-39]).double()),
    )
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert not any(module._forward_hooks for module in model.text_encoder.modules())


def test_latents_can_be_made_once_for_each_pair(model, monkeypatch):
    made = []
    original = session.sample_latents

    def counted(model, embedding, *args, **kwargs):
        made.append(len(embedding))
        return original(model, embedding, *args, **kwargs)

    monkeypatch.setattr(session, "sample_latents", counted)
    fresh, _ = run(model, edits=4)
    assert made == [2, 2, 2, 2]
    made.clear()
    reused, _ = run(model, edits=4, latents="reused")
    assert made == [2, 1]  # three pairs, two at once
    assert any(not torch.equal(fresh[name], reused[name]) for name in fresh)


def test_names_can_be_edited_instead_of_prompts(model):
    changed, report = run(model, pairs="names", batch=3)
    assert len(changed) == 2
    assert report["pairs"] == {"cat": 1}


def test_several_concepts_are_edited_in_turn_and_the_earlier_one_is_protected(model):
    request = Request(forget=(CAT, SKY), retain=REQUEST.retain)
    settings = {"values": "naive", "batch": 8, "lamb": 1e-3}
    free, _ = run(model, request, protect_earlier=False, **settings)
    held, report = run(model, request, protect_earlier=True, **settings)
    assert set(report["residual"]) == {"cat", "sky"}
    single, _ = run(model, **settings)
    # the second concept undoes less of the first edit when its keys count
    ids = model.tokenize([pair.prompt for pair in CAT.pairs])[0]
    with captured(fc2_layers(model.text_encoder)) as seen, torch.no_grad():
        states(model, ids)
    keys = seen[1][0].flatten(0, 1).T
    drift = [float(((weight(x, 1) - weight(single, 1)) @ keys).norm()) for x in (free, held)]
    assert 0 < drift[1] < 0.8 * drift[0]


def test_without_retain_prompts_every_direction_may_be_used(model):
    _, report = run(model, Request(forget=(CAT,)))
    assert report["null_dim"] == {"1": 64, "2": 64}


def test_t_ae_12_an_edit_read_from_its_file_gives_the_same_outputs(model, tmp_path):
    prompts = ["a photo of a cat", "a green tree"]
    with model.edited():
        AlphaEdit(AlphaEditParams(**FAST)).edit(model, REQUEST, edit_context())
        edited = model.encode(prompts).states.clone()
        file = EditFile(tensors=model.diff(), key="ub1:0", base=model.info.fingerprint, task={})
    write_edit(tmp_path / "edit.safetensors", file)
    assert not torch.equal(model.encode(prompts).states, edited)
    model.apply(read_edit(tmp_path / "edit.safetensors").tensors)
    try:
        assert torch.equal(model.encode(prompts).states, edited)
    finally:
        model.restore()


def test_retain_prompts_are_distinct_and_never_edited():
    assert retained(["a tree", "A cat", "a tree", "a bird"], ["a  CAT"]) == ["a tree", "a bird"]
    assert edit_pairs(SKY, "names") == [("sky", "city")]
    assert edit_pairs(SKY, "prompts") == [("blue sky", "blue city")]


@pytest.mark.parametrize(
    "params",
    [
        {"t_min": 60},
        {"max_dim": 10, "min_dim": 20},
        {"layers": ()},
        {"layers": (1, 1)},
        {"layers": (-1,)},
        {"lamb": 0},
        {"null_rule": "median"},
        {"unknown": 1},
    ],
)
def test_wrong_parameters_are_refused(params):
    with pytest.raises(ValidationError):
        AlphaEditParams(**params)


def test_supports_names_the_reason(model):
    assert AlphaEdit(AlphaEditParams()).supports(model.info, REQUEST) is None
    other = ModelInfo.model_validate({**model.info.model_dump(), "family": "flux"})
    assert "CLIP" in AlphaEdit(AlphaEditParams()).supports(other, REQUEST)
    assert "no layer 7" in AlphaEdit(AlphaEditParams(layers=(1, 7))).supports(model.info, REQUEST)
    bare = Request(forget=(ForgetConcept(id="cat", kind="object", name="cat", target="dog"),))
    assert "cat" in AlphaEdit(AlphaEditParams()).supports(model.info, bare)
    assert AlphaEdit(AlphaEditParams(pairs="names")).supports(model.info, bare) is None


def test_a_text_encoder_without_such_layers_is_refused(model, monkeypatch):
    monkeypatch.setattr("unlearnbench_alphaedit.method.fc2_layers", lambda encoder: {})
    with pytest.raises(UserError, match="fc2"):
        AlphaEdit(AlphaEditParams()).edit(model, REQUEST, edit_context())
