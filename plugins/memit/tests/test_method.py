"""The method on small Stable Diffusions, through the interface that the harness uses."""

import pytest
import torch
from pydantic import ValidationError

from unlearnbench.api import EditPair, ForgetConcept, ModelInfo, Request
from unlearnbench.editing.latents import add_noise, predict, sample_latents
from unlearnbench.editing.layers import captured, prefixes
from unlearnbench.editing.prompts import edit_pairs, retained
from unlearnbench.errors import UserError
from unlearnbench.testing import edit_context, sd14_shaped, tiny_model, try_edit
from unlearnbench_memit.layers import choose
from unlearnbench_memit.method import MEMIT
from unlearnbench_memit.moments import collect, weighted
from unlearnbench_memit.params import MEMITParams
from unlearnbench_memit.places import Batch, Place
from unlearnbench_memit.session import Session

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
RETAIN = ("a photo of a bird", "a green tree", "the house", "A photo of  a CAT")
REQUEST = Request(forget=(CAT,), retain=RETAIN)
FAST = {"edits": 1, "batch": 2, "inner_steps": 2, "latent_steps": 2, "lamb": 0.5}


@pytest.fixture(scope="module", params=[1, 2])
def model(request):
    return tiny_model(version=request.param)


def run(model, request=REQUEST, seed=0, **params):
    return try_edit(MEMIT(MEMITParams(**(FAST | params))), model, request, seed)


def stored(model, name):
    """Return the name under which the harness stores a layer's weight."""
    part = "text_encoder.text_model" if name.startswith("encoder.") else "unet"
    return f"{part}.{name}.weight"


def layers_of(model, **params):
    return choose(model, MEMITParams(**params))


def assert_close(found, expected, share=1e-3):
    assert float((found.double() - expected).norm()) < share * float(expected.norm())


# ---------------------------------------------------------------- which matrices
@pytest.mark.parametrize(
    ("matrices", "shapes", "values"),
    [
        ("text", {(768, 3072): 11}, 11 * 768 * 3072),
        ("ffn", {(320, 1280): 5, (640, 2560): 5, (1280, 5120): 6}, None),
        ("kv", {(320, 768): 10, (640, 768): 10, (1280, 768): 12}, 19_169_280),
    ],
)
def test_the_matrices_of_stable_diffusion_1_4(matrices, shapes, values):
    found = [tuple(layer.weight.shape) for layer in layers_of(sd14_shaped(device="meta"), matrices=matrices).values()]
    assert {shape: found.count(shape) for shape in found} == shapes
    if values:
        assert sum(o * d for o, d in found) == values


@pytest.mark.parametrize("matrices", ["text", "ffn", "kv"])
def test_exactly_the_matrices_of_the_group_change(model, matrices):
    changed, report = run(model, matrices=matrices)
    suffixes = {
        "text": ".mlp.fc2.weight",
        "ffn": ".ff.net.2.weight",
        "kv": (".attn2.to_k.weight", ".attn2.to_v.weight"),
    }
    every = [f"unet.{n}" for n, _ in model.unet.named_parameters()]
    every += [
        f"text_encoder.text_model.{n.removeprefix('text_model.')}" for n, _ in model.text_encoder.named_parameters()
    ]
    expected = {n for n in every if n.endswith(suffixes[matrices]) and ".layers.0." not in n}
    assert set(changed) == expected
    assert {stored(model, name) for name in report["layers"]} == expected
    assert all(value.isfinite().all() for value in changed.values())
    assert all(0 <= left <= 1 for edit in report["residual"] for left in edit)
    assert all(change > 0 for change in report["weight_change"].values())
    assert report["retain_prompts"] == 3


def test_text_layers_can_be_chosen(model):
    changed, _ = run(model, layers=(0, 1))
    assert {name.split(".")[4] for name in changed} == {"0", "1"}


# ---------------------------------------------------------------- keys and values of the cross-attention
def test_keys_and_values_follow_the_formula(model):
    """Δ = R K1ᵀ (μ K0 K0ᵀ + λ I + K1 K1ᵀ)⁻¹, R = W c* − W c, d x d, all token positions."""
    changed, report = run(model, matrices="kv", preserve_scale=0.3, lamb=0.2)
    K1, Ks, K0 = (
        model.encode(prompts).states.double().flatten(0, 1).T
        for prompts in ([p.prompt for p in CAT.pairs], [p.target for p in CAT.pairs], list(RETAIN[:3]))
    )
    A = 0.3 * K0 @ K0.T + 0.2 * torch.eye(len(K0)).double() + K1 @ K1.T
    for name, layer in layers_of(model, matrices="kv").items():
        W = layer.weight.double()
        delta = (W @ Ks - W @ K1) @ K1.T @ torch.linalg.inv(A)
        assert_close(changed[stored(model, name)].double() - W, delta)
        drift = float((delta @ K0).norm() / (W @ K0).norm())
        assert report["retain_change"][name] == pytest.approx(drift, rel=1e-2)
        assert report["retain_columns"][name] == 120
    assert report["losses"] == {}


def test_t_me_1_keys_and_values_are_those_of_uce_with_all_tokens_edited_and_preserved(model):
    """Equation 7 of the UCE paper: E -> K1, v* -> V1, P -> K0."""
    changed, _ = run(model, matrices="kv", lamb=0.5)
    C, Cs, P = (
        model.encode(prompts).states.double().flatten(0, 1).T
        for prompts in ([p.prompt for p in CAT.pairs], [p.target for p in CAT.pairs], list(RETAIN[:3]))
    )
    A = 0.5 * torch.eye(len(C)).double() + C @ C.T + P @ P.T
    for name, layer in layers_of(model, matrices="kv").items():
        W = layer.weight.double()
        uce = (0.5 * W + W @ Cs @ C.T + W @ P @ P.T) @ torch.linalg.inv(A)
        assert_close(changed[stored(model, name)].double() - W, uce - W)


def test_the_mean_moment_has_a_weight_of_15000(model):
    layers, plain = layers_of(model, matrices="kv"), MEMITParams(matrices="kv")
    moment = next(iter(collect(model, layers, RETAIN, plain, edit_context()).values()))
    K0 = model.encode(RETAIN).states.double().flatten(0, 1).T
    gram = K0 @ K0.T
    torch.testing.assert_close(weighted(moment, plain), gram, rtol=1e-5, atol=1e-4)
    mean = MEMITParams(matrices="kv", moment="mean", lamb=2.0)
    expected = 15_000 * gram / 160 + 2.0 * torch.eye(len(gram)).double()
    torch.testing.assert_close(weighted(moment, mean), expected, rtol=1e-5, atol=1e-2)
    weak = MEMITParams(matrices="kv", moment="mean", preserve_scale=7.0)
    torch.testing.assert_close(weighted(moment, weak), 7 * gram / 160, rtol=1e-5, atol=1e-4)


def test_keys_and_values_can_be_refined_through_the_unet(model):
    _, report = run(model, matrices="kv", values="unet", inner_steps=6, learning_rate=0.02)
    curves = report["losses"]["cat"][0]
    assert len(curves) == len(report["layers"])
    assert all(len(curve) == 6 for curve in curves)
    assert sum(curve[-1] < curve[0] for curve in curves) > len(curves) / 2


# ---------------------------------------------------------------- the text encoder
def look(model, layers, texts):
    with captured(layers) as seen, torch.no_grad():
        model.text_encoder(model.tokenize(texts)[0])
    return {n: tuple(x.flatten(0, 1).T.double() for x in pair) for n, pair in seen.items()}


def test_text_layers_follow_the_formula_one_after_the_other(model):
    """Naive values of all pairs, keys with the lower layers as edited."""
    changed, _ = run(model, values="naive")
    layers = layers_of(model)
    retain = look(model, layers, RETAIN[:3])
    targets = look(model, layers, [pair.target for pair in CAT.pairs])
    with model.edited():
        for name, layer in layers.items():
            K0, K1 = retain[name][0], look(model, layers, [pair.prompt for pair in CAT.pairs])[name][0]
            W = layer.weight.detach().double()
            V1 = targets[name][1] - layer.bias.double()[:, None]
            A = K0 @ K0.T + 0.5 * torch.eye(len(K0)).double() + K1 @ K1.T
            delta = (V1 - W @ K1) @ K1.T @ torch.linalg.inv(A)
            with torch.no_grad():
                layer.weight.copy_(W + delta)
            assert float(delta.norm()) > 1e-3
            assert_close(changed[stored(model, name)].double() - W, delta)


def test_spreading_gives_every_layer_its_share_of_the_last_block_s_change(model):
    """Follow MEMIT: residual (wanted − current output of the last block) / (layers left), keys anew each time."""
    changed, report = run(model, values="naive", spread=True, layers=(0, 1))
    layers, prompts = layers_of(model, layers=(0, 1)), [pair.prompt for pair in CAT.pairs]
    retain = look(model, layers, RETAIN[:3])
    block = {"block": model.text_layers()[1]}
    last = list(layers)[-1]
    delta_z = look(model, layers, [pair.target for pair in CAT.pairs])[last][1] - look(model, layers, prompts)[last][1]
    wanted = look(model, block, prompts)["block"][1] + delta_z
    with model.edited():
        for left, (name, layer) in zip((2, 1), layers.items(), strict=True):
            K0, K1 = retain[name][0], look(model, layers, prompts)[name][0]
            R = (wanted - look(model, block, prompts)["block"][1]) / left
            A = K0 @ K0.T + 0.5 * torch.eye(len(K0)).double() + K1 @ K1.T
            delta = R @ K1.T @ torch.linalg.inv(A)
            W = layer.weight.detach().double()
            with torch.no_grad():
                layer.weight.copy_(W + delta)
            assert_close(changed[stored(model, name)].double() - W, delta)
    assert len(report["residual"][0]) == 2


def test_spreading_refines_the_values_of_the_last_layer_alone(model):
    _, report = run(model, spread=True, layers=(0, 1), edits=2)
    assert [[len(curve) for curve in edit] for edit in report["losses"]["cat"]] == [[2], [2]]


def test_several_concepts_enter_each_solve(model):
    both, report = run(model, Request(forget=(CAT, SKY), retain=RETAIN), values="naive")
    layers = layers_of(model)
    name, layer = next(iter(layers.items()))
    prompts = [p.prompt for p in (*CAT.pairs, *SKY.pairs)]
    K1, out = look(model, layers, prompts)[name]
    K0 = look(model, layers, RETAIN[:3])[name][0]
    R = look(model, layers, [p.target for p in (*CAT.pairs, *SKY.pairs)])[name][1] - out
    A = K0 @ K0.T + 0.5 * torch.eye(len(K0)).double() + K1 @ K1.T
    assert_close(both[stored(model, name)].double() - layer.weight.double(), R @ K1.T @ torch.linalg.inv(A))
    assert report["pairs"] == {"cat": 3, "sky": 1}
    _, refined = run(model, Request(forget=(CAT, SKY), retain=RETAIN))
    assert set(refined["losses"]) == {"cat", "sky"}


# ---------------------------------------------------------------- the UNet's feed-forward layers
def test_feed_forward_layers_follow_the_formula_one_after_the_other(model):
    """Naive values: what the unedited layer puts out for the target prompts at the same noisy latents."""
    seed = 3
    changed, _ = run(model, matrices="ffn", values="naive", seed=seed)
    params, lent, layers = (
        MEMITParams(**(FAST | {"matrices": "ffn"})),
        edit_context(seed),
        layers_of(model, matrices="ffn"),
    )
    moments = collect(model, layers, list(RETAIN[:3]), params, lent)
    rows = torch.randperm(3, generator=lent.generator("pairs", "cat", 0))[:2].tolist()
    edit, target, empty = (
        model.encode(p).states for p in ([CAT.pairs[i].prompt for i in rows], [CAT.pairs[i].target for i in rows], [""])
    )
    draw = lent.generator("latents", "cat", 0)
    x0 = sample_latents(model, edit, empty, steps=2, guidance=7.5, generator=draw)

    def see(name, text):
        noise = lent.generator("noise", "cat", 0, name)
        noisy, t = add_noise(x0, model.scheduler.alphas_cumprod, 10, 50, noise)
        with captured({name: layers[name]}) as seen, torch.no_grad():
            predict(model, noisy, t, text)
        return [x.flatten(0, 1).T.double() for x in seen[name]]

    wanted = {name: see(name, target)[1] for name in layers}
    with model.edited():
        for name, layer in layers.items():
            W, K1 = layer.weight.detach().double(), see(name, edit)[0]
            R = wanted[name] - layer.bias.double()[:, None] - W @ K1
            A = moments[name].gram + 0.5 * torch.eye(len(K1)).double() + K1 @ K1.T
            delta = R @ K1.T @ torch.linalg.inv(A)
            with torch.no_grad():
                layer.weight.copy_(W + delta)
            assert_close(changed[stored(model, name)].double() - W, delta, share=2e-2)


def test_moments_of_feed_forward_layers_have_a_column_for_each_position_of_each_latent(model):
    layers = layers_of(model, matrices="ffn")
    found = collect(model, layers, RETAIN, MEMITParams(**(FAST | {"matrices": "ffn"})), edit_context())
    fewer = collect(
        model, layers, RETAIN, MEMITParams(**(FAST | {"matrices": "ffn", "retain_latents": 1})), edit_context()
    )
    for name, moment in found.items():
        assert moment.columns == 4 * fewer[name].columns
        assert fewer[name].columns in (16, 64)
        assert int((torch.linalg.eigvalsh(fewer[name].gram) > 1e-6).sum()) <= fewer[name].columns
    assert {moment.columns for moment in found.values()} == {64, 256}


def test_targets_and_latents_come_from_the_unedited_unet(model):
    for matrices in ("ffn", "kv"):
        layers = layers_of(model, matrices=matrices)
        originals = {f"{name}.weight": layer.weight.clone() for name, layer in layers.items()}
        place = Place(model, matrices, layers, originals)
        noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        name = list(layers)[-1]
        with torch.no_grad():
            batch = Batch(place.prepare([("cat", "dog")]), noise, noise, torch.tensor([20]))
            before = place.wanted(name, batch)
            text = batch.material.target
            assert torch.equal(before[0], predict(model, noise, batch.timesteps, text))
            own = place.predict(batch)
            with model.edited():
                for layer in layers.values():
                    layer.weight.mul_(1.5)
                after = place.wanted(name, batch)
                assert torch.equal(after[0], before[0])
                assert torch.equal(after[1], before[1])
                assert not torch.equal(place.predict(batch), own)
        assert not any(layer._forward_hooks for layer in layers.values())


# ---------------------------------------------------------------- in all of them
@pytest.mark.parametrize("matrices", ["text", "ffn", "kv"])
def test_edits_are_repeated(model, matrices):
    changed, report = run(model, matrices=matrices, edits=3)
    once, _ = run(model, matrices=matrices)
    assert len(report["residual"]) == 3
    assert any(not torch.equal(changed[name], once[name]) for name in changed)


@pytest.mark.parametrize("matrices", ["text", "ffn"])
def test_edits_repeat_exactly_with_one_seed_and_leave_the_global_state_alone(model, matrices):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, _ = run(model, matrices=matrices, seed=1)
    second, _ = run(model, matrices=matrices, seed=1)
    other, _ = run(model, matrices=matrices, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("matrices", ["text", "kv"])
def test_without_retain_prompts_the_edit_alone_counts(model, matrices):
    changed, report = run(model, Request(forget=(CAT,)), matrices=matrices, values="naive", lamb=0.0)
    widths = {layer.in_features for layer in layers_of(model, matrices=matrices).values()}
    assert set(report["unused_directions"].values()) == widths
    assert all(value.isfinite().all() for value in changed.values())
    assert report["retain_change"].keys() == report["weight_change"].keys()


@pytest.mark.parametrize(("matrices", "edits"), [("text", 10), ("ffn", 40), ("kv", 1)])
def test_the_default_number_of_edits_depends_on_the_matrices(model, matrices, edits, monkeypatch):
    counted = []
    monkeypatch.setattr(Session, "_each", lambda self, batches, number, trace: counted.append(number))
    monkeypatch.setattr(Session, "_draw", lambda self, concept, material, number, unconditional: Batch(material))
    run(model, matrices=matrices, edits=None)
    assert counted == list(range(edits))


def test_positions_with_the_same_beginning_have_one_number(model):
    ids = model.tokenize(["a photo of a cat", "a photo of a dog", "cat", "", "cat"])[0]
    rows = [tuple(row[: p + 1]) for row in ids.tolist() for p in range(ids.shape[1])]
    flat = prefixes(ids).flatten().tolist()
    assert all((flat[i] == flat[j]) == (rows[i] == rows[j]) for i in range(len(rows)) for j in range(0, i, 7))
    assert len(set(flat)) == len(set(rows))


def test_names_can_be_edited_instead_of_prompts(model):
    _, report = run(model, pairs="names", matrices="kv")
    assert report["pairs"] == {"cat": 1}
    assert edit_pairs(SKY, "names") == [("sky", "city")]
    assert retained(["a tree", "A cat", "a tree", "a bird"], ["a  CAT"]) == ["a tree", "a bird"]


@pytest.mark.parametrize(
    "params",
    [
        {"t_min": 60},
        {"layers": ()},
        {"layers": (1, 1)},
        {"layers": (1,), "matrices": "kv"},
        {"spread": True, "matrices": "ffn"},
        {"lamb": -1},
        {"matrices": "vae"},
        {"unknown": 1},
    ],
)
def test_wrong_parameters_are_refused(params):
    with pytest.raises(ValidationError):
        MEMITParams(**params)


def test_supports_names_the_reason(model):
    assert MEMIT(MEMITParams()).supports(model.info, REQUEST) is None
    other = ModelInfo.model_validate({**model.info.model_dump(), "family": "flux"})
    assert "CLIP" in MEMIT(MEMITParams()).supports(other, REQUEST)
    assert "no layer 7" in MEMIT(MEMITParams(layers=(1, 7))).supports(model.info, REQUEST)
    bare = Request(forget=(ForgetConcept(id="cat", kind="object", name="cat", target="dog"),))
    assert "cat" in MEMIT(MEMITParams()).supports(model.info, bare)
    assert MEMIT(MEMITParams(pairs="names")).supports(model.info, bare) is None


def test_a_model_without_such_layers_is_refused(model, monkeypatch):
    monkeypatch.setattr(type(model), "cross_attention", lambda self: {})
    with pytest.raises(UserError, match="kv"):
        MEMIT(MEMITParams(matrices="kv")).edit(model, REQUEST, edit_context())
