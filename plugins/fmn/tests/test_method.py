"""The method on a small Stable Diffusion, through the interface that the harness uses."""

import resource
import time

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from unlearnbench.api import EditPair, ForgetConcept, ModelInfo, Request
from unlearnbench.editing.latents import add_noise
from unlearnbench.errors import UserError
from unlearnbench.testing import edit_context, sd14_shaped, tiny_model, try_edit
from unlearnbench_fmn import method as module
from unlearnbench_fmn.attention import mean_attention, recorded, resteering_loss, steered
from unlearnbench_fmn.layers import trained
from unlearnbench_fmn.method import ForgetMeNot
from unlearnbench_fmn.params import FMNParams
from unlearnbench_fmn.references import References, reference_images
from unlearnbench_fmn.tokens import places, tokenized

CAT = ForgetConcept(
    id="cat",
    kind="object",
    name="cat",
    target="dog",
    pairs=(
        EditPair(prompt="a photo of a cat", target="a photo of a dog"),
        EditPair(prompt="a red cat in the city", target="a red dog in the city"),
        EditPair(prompt="a kitten", target="a puppy"),
    ),
)
BEACH = ForgetConcept(id="beach", kind="scene", name="beach", target="city")
REQUEST = Request(forget=(CAT,))
FAST = {"iterations": 3, "images": 2, "image_steps": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def run(model, request=REQUEST, seed=0, **params):
    return try_edit(ForgetMeNot(FMNParams(**(FAST | params))), model, request, seed)


@torch.no_grad()
def attention(model, n=16):
    """Return the mean probability at 'cat' and EOS of its prompt, over noisy latents that no edit has seen."""
    g = torch.Generator().manual_seed(9)
    x, t = torch.randn(n, 4, 8, 8, generator=g), torch.randint(1000, (n,), generator=g)
    chosen = torch.zeros(n, model.info.text_positions, dtype=torch.bool)
    chosen[:, 4:6] = True
    with recorded(model.cross_attention().values()) as maps:
        model.unet(x, t, model.encode(["a photo of cat"]).states.expand(n, -1, -1))
        return mean_attention(steered(maps, chosen))


def reached(model):
    """Return the parameters of the UNet that the loss depends on."""
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([500])
    parameters = dict(model.unet.named_parameters())
    for p in parameters.values():
        p.requires_grad_(True)
    with recorded(model.cross_attention().values()) as maps:
        model.unet(x, t, model.encode(["a photo of cat"]).states)
    chosen = torch.zeros(1, model.info.text_positions, dtype=torch.bool)
    chosen[:, 4:6] = True
    grads = torch.autograd.grad(
        resteering_loss(steered(maps, chosen), "squared"), list(parameters.values()), allow_unused=True
    )
    for p in parameters.values():
        p.requires_grad_(False)
    return {name for name, grad in zip(parameters, grads, strict=True) if grad is not None}


# ---------------------------------------------------------------- the tests of the specification
@pytest.mark.parametrize(
    ("version", "train_method", "loss"), [(1, "full", "squared"), (1, "cross-attn", "norm"), (2, "full", "norm")]
)
def test_t_fmn_4_35_steps_lower_the_attention_to_the_concept(version, train_method, loss):
    model = tiny_model(version=version)
    before = attention(model)
    with model.edited():
        settings = FMNParams(images=2, image_steps=2, learning_rate=1e-4, train_method=train_method, loss=loss)
        ForgetMeNot(settings).edit(model, REQUEST, edit_context())
        after = attention(model)
    assert after < 0.98 * before


def test_t_fmn_4_the_papers_learning_rate_lowers_it_too(model):
    before = attention(model)
    with model.edited():
        ForgetMeNot(FMNParams(images=2, image_steps=2)).edit(model, REQUEST, edit_context())
        assert attention(model) < before


# ---------------------------------------------------------------- what changes
@pytest.mark.parametrize("train_method", ["full", "cross-attn"])
def test_the_chosen_parameters_that_the_loss_depends_on_change_and_no_others(model, train_method):
    changed, report = run(model, train_method=train_method)
    chosen = trained(model.unet, train_method)
    assert set(changed) == {f"unet.{name}" for name in set(chosen) & reached(model)}
    assert not {"unet.conv_out.weight", "unet.conv_norm_out.weight"} & set(changed)
    assert all(bool(tensor.isfinite().all()) for tensor in changed.values())
    assert report["trained_parameters"] == sum(p.numel() for p in chosen.values())
    assert report["prompts"] == 1
    assert report["positions"] == 2
    assert len(report["losses"]) == len(report["attention"]) == 3
    assert report["inversion_losses"] == {"cat": []}


def test_what_is_reported_falls_while_it_trains(model):
    _, report = run(model, iterations=20, batch=2, learning_rate=3e-4, train_method="cross-attn")
    for values in (report["losses"], report["attention"]):
        assert sum(values[-5:]) < sum(values[:5])


@pytest.mark.parametrize("eos", ["first", "all", "none"])
def test_attention_is_steered_away_from_the_eos_positions_that_are_asked_for(model, eos):
    _, report = run(model, eos=eos, iterations=1)
    assert report["positions"] == {"first": 2, "all": 36, "none": 1}[eos]


# ---------------------------------------------------------------- equations, step by step
@pytest.mark.parametrize("loss", ["squared", "norm"])
def test_one_iteration_is_adamw_on_the_clipped_gradient(model, loss):
    """Follow one iteration by hand: images, noisy latent, maps, loss, gradient, AdamW."""
    clip, rate, decay = 1e-3, 1e-3, 0.1
    settings = FAST | {
        "iterations": 1, "edit_with": "pairs", "loss": loss, "train_method": "cross-attn", "learning_rate": rate,
        "weight_decay": decay, "max_gradient_norm": clip,
    }  # fmt: skip
    params, ctx = FMNParams(**settings), edit_context(4)
    changed, report = run(model, seed=4, **settings)

    images = reference_images(model, CAT, params, ctx)
    tokens = tokenized(model, CAT, "pairs")
    prompts = ["a photo of a cat", "a red cat in the city"]
    g = ctx.generator("iteration", 0)
    x0 = References(model, images).draw(g)[None]
    row = int(torch.randint(2, (), generator=g))
    x, t = add_noise(x0, model.scheduler.alphas_cumprod, 0, 999, g)
    where = places(tokens, "first")[row].nonzero()[:, 0].tolist()
    assert where == [[5, 6], [3, 7]][row]
    with model.edited():
        weights = {n: p for n, p in model.unet.named_parameters() if ".attn2." in n}
        for p in weights.values():
            p.requires_grad_(True)
        with recorded(model.cross_attention().values()) as maps:
            model.unet(x, t, model.encode([prompts[row]]).states)
        total = sum(a[0, :, :, p].square().sum() for a in maps for p in where)
        total = total if loss == "squared" else total.sqrt()
        grads = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
        assert report["losses"] == [pytest.approx(float(total.detach()), rel=1e-4)]
        assert report["attention"] == [pytest.approx(mean_attention([a[0][..., where] for a in maps]), rel=1e-4)]
        size = torch.cat([grad.flatten() for grad in grads if grad is not None]).norm()
        assert size > clip
        for (name, old), grad in zip(weights.items(), grads, strict=True):
            if grad is None:
                assert f"unet.{name}" not in changed
                continue
            clipped = grad * clip / (size + 1e-6)
            expected = old * (1 - rate * decay) - rate * clipped / (clipped.abs() + 1e-8)
            clear = grad.abs() > 0.05 * grad.abs().max()
            torch.testing.assert_close(changed[f"unet.{name}"][clear], expected[clear], rtol=0, atol=3e-5)


def test_several_concepts_take_turns_each_with_its_own_images_and_positions(model, monkeypatch):
    seen = []
    plain = module.step

    def watched(student, batch, *rest):
        seen.append(batch)
        return plain(student, batch, *rest)

    monkeypatch.setattr(module, "step", watched)
    long = BEACH.model_copy(update={"name": "beach city house"})
    _, report = run(model, Request(forget=(CAT, long)), iterations=10, batch=3)
    counts = [int(row.sum()) for batch in seen for row in batch.places]
    assert counts == [2, 4] * 15
    texts = dict(zip((2, 4), model.encode(["a photo of cat", "a photo of beach city house"]).states, strict=True))
    rows = [(int(p.sum()), text) for batch in seen for p, text in zip(batch.places, batch.text, strict=True)]
    assert all(torch.allclose(text, texts[count], atol=1e-6) for count, text in rows)
    assert report["prompts"] == 2
    assert report["positions"] == 6


def test_given_images_are_what_it_trains_on(model, tmp_path, monkeypatch):
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (16, 16), "white").save(tmp_path / "cat" / "1.png")
    monkeypatch.setattr("unlearnbench_fmn.references.sample", None)
    white, _ = run(model, reference_images=str(tmp_path))
    Image.new("RGB", (16, 16), "black").save(tmp_path / "cat" / "1.png")
    black, _ = run(model, reference_images=str(tmp_path))
    assert any(not torch.equal(white[name], black[name]) for name in white)


def test_learnt_tokens_take_the_name_s_place(model):
    settings = {"inversion": True, "inversion_iterations": 2, "inversion_tokens": 3}
    changed, report = run(model, Request(forget=(CAT, BEACH)), **settings)
    assert all(name.startswith("unet.") for name in changed)
    assert report["positions"] == 8
    assert [len(losses) for losses in report["inversion_losses"].values()] == [2, 2]


# ---------------------------------------------------------------- precision, determinism, state
def test_small_steps_add_up_in_half_precision():
    """In bfloat16 a step of 1e-4 is lost on weights above 0.05; the single-precision copies keep it."""
    model = tiny_model()
    names = set(trained(model.unet, "cross-attn")) & reached(model)
    for part in (model.unet, model.text_encoder, model.vae):
        part.to(torch.bfloat16)
    model.dtype = torch.bfloat16
    before = {name: model.unet.get_parameter(name).clone() for name in names}
    changed, _ = run(model, iterations=12, learning_rate=1e-4, train_method="cross-attn")
    large = moved = 0
    for name, old in before.items():
        big = old.abs() > 0.06
        large += int(big.sum())
        moved += int((changed[f"unet.{name}"] != old)[big].sum()) if f"unet.{name}" in changed else 0
    assert all(t.dtype == torch.bfloat16 for t in changed.values())
    assert moved > 0.3 * large > 0


@pytest.mark.parametrize("inversion", [False, True])
def test_edits_repeat_exactly_with_one_seed_and_differ_with_another(model, inversion):
    settings = {"inversion": inversion, "inversion_iterations": 2}
    first, _ = run(model, seed=1, **settings)
    second, _ = run(model, seed=1, **settings)
    other, _ = run(model, seed=2, **settings)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_global_state_is_left_as_it_was(model):
    def state():
        return torch.get_num_threads(), torch.is_grad_enabled(), float(torch.tensor([1e-39]).double())

    torch.manual_seed(5)
    random, before = torch.get_rng_state(), state()
    processors = dict(model.unet.attn_processors)
    run(model, inversion=True, inversion_iterations=1)
    assert torch.equal(torch.get_rng_state(), random)
    assert state() == before
    assert model.unet.attn_processors == processors
    assert not any(p.requires_grad or p.grad is not None for p in model.unet.parameters())


def test_training_works_where_gradients_are_switched_off(model):
    with torch.no_grad():
        changed, _ = run(model, inversion=True, inversion_iterations=1)
        assert not torch.is_grad_enabled()
    assert changed


def test_a_model_that_breaks_ends_the_edit(model):
    with pytest.raises(FloatingPointError, match="learning rate"):
        run(model, learning_rate=1.0, iterations=200)
    assert all(bool(p.isfinite().all()) for p in model.unet.parameters())


# ---------------------------------------------------------------- what it refuses
@pytest.mark.parametrize(
    "params",
    [
        {"iterations": 0},
        {"train_method": "attn2"},
        {"eos": "last"},
        {"loss": "mean"},
        {"max_gradient_norm": 0},
        {"inversion_tokens": 0},
        {"unknown": 1},
    ],
)
def test_wrong_parameters_are_refused(params):
    with pytest.raises(ValidationError):
        FMNParams(**params)


def test_supports_names_the_reason(model, tmp_path):
    def reason(concept=CAT, info=model.info, **params):
        return ForgetMeNot(FMNParams(**params)).supports(info, Request(forget=(concept,)))

    assert reason() is None
    assert reason(BEACH) is None
    assert "cross-attention" in reason(info=ModelInfo.model_validate({**model.info.model_dump(), "family": "flux"}))
    assert "cat has none" in reason(CAT.model_copy(update={"name": " "}))
    assert "no edit prompt of beach" in reason(BEACH, edit_with="pairs")
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "cat" / "1.webp")
    assert reason(reference_images=str(tmp_path)) is None
    assert f"no reference images in {tmp_path / 'beach'}" in reason(BEACH, reference_images=str(tmp_path))


def test_a_unet_without_cross_attention_is_refused(model, monkeypatch):
    monkeypatch.setattr(model, "cross_attention", dict)
    with pytest.raises(UserError, match="no cross-attention"):
        run(model)


# ---------------------------------------------------------------- full size
@pytest.mark.slow  # 10 to 20 GB and minutes
@pytest.mark.parametrize("train_method", ["cross-attn", "full"])
def test_a_whole_model_with_the_shapes_of_stable_diffusion_1_4(tmp_path, train_method, record_property, capsys):
    model = sd14_shaped()
    (tmp_path / "cat").mkdir()
    Image.effect_noise((512, 512), 64).save(tmp_path / "cat" / "1.png")
    sums = {name: float(p.double().sum()) for name, p in model.unet.named_parameters()}
    names, last = trained(model.unet, train_method), "up_blocks.3.attentions.2.transformer_blocks.0"
    untouched = {f"{last}.attn2.{part}" for part in ("to_v.weight", "to_out.0.weight", "to_out.0.bias")}
    ctx, start = edit_context(), time.process_time()
    steps = 2
    params = FMNParams(iterations=steps, reference_images=str(tmp_path), train_method=train_method, learning_rate=1e-4)
    ForgetMeNot(params).edit(model, REQUEST, ctx)
    seconds = (time.process_time() - start) / steps
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    record_property("cpu_seconds_per_step", seconds)
    record_property("peak_gigabytes", gigabytes)
    with capsys.disabled():
        print(f"\nfmn {train_method}: {seconds:.1f} CPU seconds a step, peak {gigabytes:.1f} GB")
    own = dict(model.unet.named_parameters())
    assert all(bool(p.isfinite().all()) for p in own.values())
    moved = {name for name, p in own.items() if float(p.double().sum()) != sums[name]}
    assert moved <= set(names) - untouched
    if train_method == "cross-attn":
        assert moved == set(names) - untouched
    else:
        assert {name for name in names if ".attn2.to_" in name} - untouched <= moved
        assert not any(name.startswith(("conv_out", "conv_norm_out", f"{last}.ff")) for name in moved)
    expected = {"cross-attn": 43_962_560, "full": 859_520_964}
    assert ctx.values["trained_parameters"] == expected[train_method]
    assert ctx.values["positions"] == 2
    assert all(0 < share < 1 for share in ctx.values["attention"])
