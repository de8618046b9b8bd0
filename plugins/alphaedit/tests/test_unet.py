"""The edit of the UNet's feed-forward layers, the report's ablation."""

import pytest
import torch
from pydantic import ValidationError

from unlearnbench.api import EditPair, ForgetConcept, Request
from unlearnbench.editing.latents import add_noise, predict, sample_latents
from unlearnbench.editing.layers import captured
from unlearnbench.errors import UserError
from unlearnbench.testing import edit_context, sd14_shaped, tiny_model, try_edit
from unlearnbench_alphaedit.method import AlphaEdit
from unlearnbench_alphaedit.params import AlphaEditParams
from unlearnbench_alphaedit.places import InUNet, Noisy, prepare
from unlearnbench_alphaedit.unet import ffn_layers, ffn_moments

CAT = ForgetConcept(
    id="cat",
    kind="object",
    name="cat",
    target="dog",
    pairs=(
        EditPair(prompt="a photo of a cat", target="a photo of a dog"),
        EditPair(prompt="a red cat in the rain", target="a red dog in the rain"),
    ),
)
SKY = ForgetConcept(
    id="sky", kind="scene", name="sky", target="city", pairs=(EditPair(prompt="blue sky", target="blue city"),)
)
RETAIN = ("a photo of a bird", "a green tree", "the house", "an apple and a pear", "sun and rain")
REQUEST = Request(forget=(CAT,), retain=RETAIN)
FAST = {"matrices": "ffn", "edits": 1, "batch": 2, "inner_steps": 2, "latent_steps": 2, "min_dim": 16, "lamb": 0.05}


@pytest.fixture(scope="module", params=[1, 2])
def model(request):
    return tiny_model(version=request.param)


def run(model, request=REQUEST, seed=0, **params):
    return try_edit(AlphaEdit(AlphaEditParams(**(FAST | params))), model, request, seed)


def test_stable_diffusion_1_4_has_16_such_matrices():
    layers = ffn_layers(sd14_shaped(device="meta").unet)
    assert len(layers) == 16
    shapes = sorted(tuple(layer.weight.shape) for layer in layers.values())
    assert shapes == [(320, 1280)] * 5 + [(640, 2560)] * 5 + [(1280, 5120)] * 6
    blocks = [name.split(".")[0] for name in layers]
    assert blocks == ["down_blocks"] * 6 + ["mid_block"] + ["up_blocks"] * 9  # in the order in which the UNet runs them


def test_exactly_the_feed_forward_matrices_of_the_unet_change(model):
    changed, report = run(model)
    names = list(ffn_layers(model.unet))
    assert set(changed) == {f"unet.{name}.weight" for name in names}
    assert report["layers"] == names
    assert all(value.isfinite().all() for value in changed.values())
    assert all(change > 0 for change in report["weight_change"].values())
    assert all(0 <= left < 1 for left in report["residual"]["cat"][0])
    assert len(report["aligned"]["cat"]) == 1


def test_the_spectrum_of_every_layer_is_reported(model):
    _, report = run(model, values="naive")
    for name, layer in ffn_layers(model.unet).items():
        width = layer.in_features
        counts, quantiles = report["null_spectrum"][name], report["eigenvalue_quantiles"][name]
        assert list(counts.values()) == sorted(counts.values())
        assert list(quantiles.values()) == sorted(quantiles.values())
        assert 0 <= quantiles["0"] < 1 < quantiles["1"] <= width
        # the mean is 1: as many eigenvalues lie under a tenth of it as the quantiles say
        assert (quantiles["0.5"] < 0.1) == (counts["0.1"] > width / 2)
        assert report["null_dim"][name] >= 16
        assert 0 <= report["null_leakage"][name] < 1


def test_moments_are_those_of_the_noisy_latents_of_the_retain_prompts(model):
    layers, params = ffn_layers(model.unet), AlphaEditParams(**FAST)
    found = ffn_moments(model, layers, RETAIN, params, edit_context())
    draw = edit_context().generator("retain")
    rows = torch.randperm(5, generator=draw).tolist()
    grams = {name: torch.zeros(layer.in_features, layer.in_features).double() for name, layer in layers.items()}
    columns, seen = dict.fromkeys(layers, 0), {}
    for batch in (rows[:2], rows[2:4], rows[4:]):
        text = model.encode([RETAIN[row] for row in batch]).states
        empty = model.encode([""]).states
        latents = sample_latents(model, text, empty, steps=2, guidance=7.5, generator=draw)
        noisy, timesteps = add_noise(latents, model.scheduler.alphas_cumprod, 10, 50, draw)
        handles = [
            layer.register_forward_hook(lambda _, args, __, name=name: seen.update({name: args[0]}))
            for name, layer in layers.items()
        ]
        with torch.no_grad():
            model.unet(noisy, timesteps, encoder_hidden_states=text)
        for handle in handles:
            handle.remove()
        for name, inputs in seen.items():
            K0 = inputs.reshape(-1, inputs.shape[-1]).double()
            grams[name] += K0.T @ K0
            columns[name] += len(K0)
    for name, moment in found.items():
        assert moment.columns == columns[name]
        torch.testing.assert_close(moment.gram, grams[name], rtol=1e-4, atol=1e-4)


def test_no_more_retain_prompts_are_drawn_than_asked_for(model):
    layers = ffn_layers(model.unet)
    whole = ffn_moments(model, layers, RETAIN, AlphaEditParams(**FAST), edit_context())
    part = ffn_moments(model, layers, RETAIN, AlphaEditParams(**(FAST | {"retain_latents": 3})), edit_context())
    assert all(5 * part[name].columns == 3 * whole[name].columns > 0 for name in layers)
    none = ffn_moments(model, layers, [], AlphaEditParams(**FAST), edit_context())
    assert all(moment.columns == 0 for moment in none.values())


def test_one_edit_is_the_closed_form_of_captured_keys_and_naive_values(model):
    """Follow the method step by step, d x d, in double precision."""
    lamb, seed = 0.05, 3
    changed, _ = run(model, values="naive", seed=seed)
    lent, layers = edit_context(seed), ffn_layers(model.unet)
    rows = torch.randint(2, (2,), generator=lent.generator("pairs", "cat", 0))
    prompts = [(CAT.pairs[int(i)].prompt, CAT.pairs[int(i)].target) for i in rows]
    edit, target = (model.encode([pair[side] for pair in prompts]).states for side in (0, 1))
    moments = ffn_moments(model, layers, RETAIN, AlphaEditParams(**FAST), lent)
    x0 = sample_latents(
        model,
        edit,
        model.encode([""]).states,
        steps=2,
        guidance=7.5,
        generator=lent.generator("latents", "cat", 0),
    )

    def look(name, text):
        noise = lent.generator("noise", "cat", 0, name)
        noisy, t = add_noise(x0, model.scheduler.alphas_cumprod, 10, 50, noise)
        with captured({name: layers[name]}) as seen, torch.no_grad():
            predict(model, noisy, t, text)
        return [x.flatten(0, 1).T.double() for x in seen[name]]

    wanted = {name: look(name, target)[1] for name in layers}  # by the original UNet
    with model.edited():
        for name, layer in layers.items():
            W = layer.weight.detach().double()
            K1 = look(name, edit)[0]
            V1 = wanted[name] - layer.bias.double()[:, None]
            values, vectors = torch.linalg.eigh(moments[name].gram)
            dim = max(int((values < values.mean() / 90000).sum()), 16)
            P = vectors[:, :dim] @ vectors[:, :dim].T
            identity = torch.eye(len(P)).double()
            delta = (V1 - W @ K1) @ K1.T @ P @ torch.linalg.inv(K1 @ K1.T @ P + lamb * identity)
            with torch.no_grad():
                layer.weight.copy_(W + delta)
            assert float(delta.norm()) > 1e-4
            found = changed[f"unet.{name}.weight"].double() - W
            assert float((found - delta).norm()) < 2e-2 * float(delta.norm())


def test_t_ae_10_retain_inputs_keep_their_outputs_where_the_null_space_is_exact(model):
    """One latent has 64 positions, and the layers are wider."""
    layers, seed = ffn_layers(model.unet), 0
    request = Request(forget=(CAT,), retain=RETAIN[:1])
    with model.edited():
        draw = edit_context(seed).generator("retain")
        torch.randperm(1, generator=draw)
        text, empty = model.encode(RETAIN[:1]).states, model.encode([""]).states
        latents = sample_latents(model, text, empty, steps=2, guidance=7.5, generator=draw)
        noisy, t = add_noise(latents, model.scheduler.alphas_cumprod, 10, 50, draw)
        with captured(layers) as seen, torch.no_grad():
            predict(model, noisy, t, text)
        keys = {name: inputs.clone() for name, (inputs, _) in seen.items()}
        before = {name: layers[name](keys[name]) for name in layers}
        AlphaEdit(AlphaEditParams(**(FAST | {"null_tol": 1e-10, "min_dim": 1}))).edit(
            model, request, edit_context(seed)
        )
        for name, layer in layers.items():
            torch.testing.assert_close(layer(keys[name]), before[name], rtol=0, atol=1e-5)
            other = torch.randn(1, 4, layer.in_features, generator=torch.Generator().manual_seed(1))
            assert (other @ (layer.weight - model._copies[f"unet.{name}.weight"]).T).abs().max() > 1e-4


def test_targets_and_latents_come_from_the_original_unet(model):
    layers = ffn_layers(model.unet)
    weights = {f"{name}.weight": layer.weight.clone() for name, layer in layers.items()}
    material = prepare(model, {}, [("cat", "dog")])
    place = InUNet(model, layers, weights)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    noisy = Noisy(noise, torch.tensor([20]))
    last = list(layers)[-1]

    def sampled(given):
        g = torch.Generator().manual_seed(1)
        return sample_latents(
            model, material.edit, material.unconditional, steps=2, guidance=7.5, generator=g, weights=given
        )

    with torch.no_grad():
        original = predict(model, noisy.latents, noisy.timesteps, material.target)
        latents = sampled(None)
        with model.edited():
            for layer in layers.values():
                layer.weight.mul_(1.5)
            prediction, values = place.wanted(last, material, noisy)
            assert torch.equal(prediction, original)
            assert torch.equal(sampled(place.weights), latents)
            assert not torch.equal(sampled(None), latents)
            with captured({last: layers[last]}) as seen:
                changed = predict(model, noisy.latents, noisy.timesteps, material.target)
            assert not torch.equal(changed, original)
            assert not torch.allclose(seen[last][1], values + layers[last].bias)
    assert not any(layer._forward_hooks for layer in layers.values())


def test_refinement_brings_the_edited_unet_towards_the_target(model):
    _, report = run(model, inner_steps=8, learning_rate=0.01, latents="reused")
    losses = report["losses"]["cat"][0]
    assert sum(curve[-1] for curve in losses) < sum(curve[0] for curve in losses)
    assert len(losses) == len(ffn_layers(model.unet))


def test_several_concepts_are_edited_in_turn(model):
    changed, report = run(model, Request(forget=(CAT, SKY), retain=RETAIN), values="naive")
    single, _ = run(model, values="naive")
    assert set(report["residual"]) == {"cat", "sky"}
    assert any(not torch.equal(changed[name], single[name]) for name in changed)


def test_edits_repeat_exactly_with_one_seed_and_leave_the_global_state_alone(model):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, _ = run(model, seed=1, edits=2)
    second, _ = run(model, seed=1, edits=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other, _ = run(model, seed=2, edits=2)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_unprojected_updates_need_no_null_space(model):
    changed, report = run(model, projection=False, values="naive")
    assert len(changed) == len(ffn_layers(model.unet))
    assert report["null_dim"] == report["eigenvalue_quantiles"] == {}


def test_layer_numbers_belong_to_the_text_encoder():
    with pytest.raises(ValidationError, match="text"):
        AlphaEditParams(matrices="ffn", layers=(1,))


def test_a_unet_without_such_layers_is_refused(model, monkeypatch):
    monkeypatch.setattr("unlearnbench_alphaedit.method.ffn_layers", lambda unet: {})
    with pytest.raises(UserError, match="feed-forward"):
        AlphaEdit(AlphaEditParams(matrices="ffn")).edit(model, REQUEST, edit_context())
