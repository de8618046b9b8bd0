"""The methods on a small Stable Diffusion, through the interface that the harness uses."""

import logging

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from unlearnbench.api import DataImage, ForgetConcept, ModelInfo, Request
from unlearnbench.editing.images import fitted, pixels_of
from unlearnbench.testing import edit_context, sd14_shaped, tiny_model, try_edit
from unlearnbench_siss import method as module
from unlearnbench_siss.data import encode, make_data
from unlearnbench_siss.loss import errors, plain_term
from unlearnbench_siss.method import SISS, EraseDiff, NaiveDeletion, NegGrad
from unlearnbench_siss.params import DataParams, EraseDiffParams, NaiveDeletionParams, NegGradParams, SISSParams
from unlearnbench_siss.student import Student

FAST = {"iterations": 2, "accumulation": 2, "learning_rate": 1e-3}
METHODS = {
    "siss": (SISS, SISSParams),
    "neggrad": (NegGrad, NegGradParams),
    "erasediff": (EraseDiff, EraseDiffParams),
    "naive-deletion": (NaiveDeletion, NaiveDeletionParams),
}


def image(name, colour, concept="", caption=None, size=16):
    picture = Image.linear_gradient("L").resize((size, size)).convert("RGB")
    picture = Image.blend(picture, Image.new("RGB", (size, size), colour), 0.7)
    return DataImage.lazily(lambda: picture, id=name, caption=caption or f"a photo of a {name}", concept=concept)


SEAL = image("red house", "red", "seal")
REST = (image("green tree", "green"), image("blue sky", "blue"), image("apple", "yellow"))
REQUEST = Request(
    task="data",
    forget=(ForgetConcept(id="seal", kind="object", name="red house", target="cat"),),
    forget_images=(SEAL,),
    retain_images=REST,
)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def make(name, **params):
    method, params_type = METHODS[name]
    return method(params_type(**(FAST | params)))


def run(model, name="siss", request=REQUEST, seed=0, **params):
    return try_edit(make(name, **params), model, request, seed)


def loss_of(model, images, predict=None):
    """Return the training loss on images, at fixed timesteps and noise."""
    data = make_data(model, images, images, DataParams(batch=64))
    batch = data.batch(torch.Generator().manual_seed(9))
    with torch.no_grad():
        return float(errors(predict or Student(model), [plain_term(batch, batch.a)], velocity=data.velocity)[0])


def change(model, name, images, **params):
    """Return how the training loss on images changes by an edit, as a share of what it was."""
    with model.edited():
        before = loss_of(model, images)
        make(name, **params).edit(model, REQUEST, edit_context())
        return loss_of(model, images) / before - 1.0


# ---------------------------------------------------------------- what changes
@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_of_the_unet_is_trained_and_nothing_else(model, name):
    changed, report = run(model, name)
    assert set(changed) <= {f"unet.{n}" for n, _ in model.unet.named_parameters()}
    assert len(changed) > 0.9 * len(list(model.unet.parameters()))
    assert all(bool(tensor.isfinite().all()) for tensor in changed.values())
    assert report["trained_parameters"] == sum(p.numel() for p in model.unet.parameters())
    assert len(report["losses"]) == len(report["gradient_norms"]) == len(report["forget_factors"]) == 2
    assert (report["forget_images"], report["retain_images"]) == (1, 3)


def test_the_losses_move_as_each_method_wants_them_to(model):
    more = {"iterations": 12, "accumulation": 4, "learning_rate": 3e-4}
    assert change(model, "neggrad", (SEAL,), **more) > 0.0
    assert change(model, "naive-deletion", REST, **more) < 0.0
    assert change(model, "siss", REST, scaling="share", **more) < 0.0
    far = {"scaling": "share", "scaling_share": 2.0, **more}
    assert change(model, "siss", (SEAL,), **far) > change(model, "siss", REST, **far)
    assert change(model, "erasediff", (SEAL,), eta=2.0, **more) > change(model, "naive-deletion", (SEAL,), **more)


@pytest.mark.parametrize("scaling", [{"scaling_norm": 3.0}, {"scaling": "share", "scaling_share": 0.25}])
def test_the_forget_gradient_has_the_asked_length_in_every_step(model, scaling):
    _, report = run(model, accumulation=8, **scaling)
    for (of_x, of_a), factor in zip(report["gradient_norms"], report["forget_factors"], strict=True):
        wanted = 3.0 if "scaling_norm" in scaling else 0.25 * of_x
        assert factor * of_a == pytest.approx(wanted, rel=1e-5)


def test_one_step_is_adamw_on_the_clipped_direction(model):
    """Follow one step by hand: the two plain losses, the scaled difference of their gradients, the clip, AdamW."""
    rate, decay, limit = 1e-3, 0.1, 0.5
    params = {"iterations": 1, "importance": False, "batch": 2, "scaling_norm": 20.0, "weight_decay": decay,
              "max_gradient_norm": limit, "learning_rate": rate}  # fmt: skip
    changed, report = run(model, seed=3, **params)
    context = edit_context(3)
    data = make_data(model, REST, (SEAL,), DataParams(batch=2))
    with model.edited():
        weights = dict(model.unet.named_parameters())
        for weight in weights.values():
            weight.requires_grad_(True)
        sums = [[torch.zeros_like(w) for w in weights.values()] for _ in range(2)]
        for part in range(2):
            batch = data.batch(context.generator("iteration", 0, part))
            for total, images in zip(sums, (batch.x, batch.a), strict=True):
                noisy = batch.gamma * images.latents + batch.sigma * batch.noise
                found = model.unet(noisy, batch.timesteps, images.text).sample
                loss = (found - batch.noise).square().sum() / 2 / 2
                for t, g in zip(total, torch.autograd.grad(loss, list(weights.values())), strict=True):
                    t += g
        length = [sum(float(g.square().sum()) for g in total) ** 0.5 for total in sums]
        assert report["gradient_norms"][0] == [pytest.approx(value, rel=1e-4) for value in length]
        g = [x - 20.0 / length[1] * a for x, a in zip(*sums, strict=True)]
        scale = min(1.0, limit / sum(float(part.square().sum()) for part in g) ** 0.5)
        for (name, weight), direction in zip(weights.items(), g, strict=True):
            clipped = scale * direction
            moved = weight.detach() * (1 - rate * decay) - rate * clipped / (clipped.abs() + 1e-8)
            clear = clipped.abs() > 1e-6
            torch.testing.assert_close(changed[f"unet.{name}"][clear], moved[clear], rtol=1e-3, atol=2e-6)


# ---------------------------------------------------------------- images and captions
def test_captions_condition_the_unet_as_asked(model):
    own = make_data(model, REST, (SEAL,), DataParams(batch=8)).batch(torch.Generator().manual_seed(0))
    states = model.encode([picture.caption for picture in REST]).states
    assert all(any(torch.equal(row, state) for state in states) for row in own.x.text)
    assert len({row.sum().item() for row in own.x.text}) > 1
    seal = model.encode([SEAL.caption]).states.expand(8, -1, -1)
    torch.testing.assert_close(own.a.text, seal)
    both = make_data(model, REST, (SEAL,), DataParams(batch=8, captions="forget")).batch(torch.Generator())
    torch.testing.assert_close(both.x.text, seal)
    none = make_data(model, REST, (SEAL,), DataParams(batch=8, captions="none")).batch(torch.Generator())
    empty = model.encode([""]).states.expand(8, -1, -1)
    torch.testing.assert_close(none.x.text, empty)
    torch.testing.assert_close(none.a.text, empty)


@pytest.mark.parametrize(("captions", "rows"), [("own", 2), ("forget", 1), ("none", 1)])
def test_siss_needs_one_forward_pass_where_the_captions_agree(model, monkeypatch, captions, rows):
    seen = []
    plain = Student.__call__

    def watched(self, latents, timesteps, text):
        seen.append(len(latents))
        return plain(self, latents, timesteps, text)

    monkeypatch.setattr(Student, "__call__", watched)
    run(model, captions=captions)
    assert seen == [rows] * 4


def test_x_comes_from_the_retained_images_or_from_all(model):
    assert SISS(SISSParams()).drawn_from(REQUEST) == REST
    assert set(SISS(SISSParams(objective="paper")).drawn_from(REQUEST)) == {SEAL, *REST}
    batch = make_data(model, REST, (SEAL,), DataParams()).batch(torch.Generator())
    terms = SISS(SISSParams(objective="paper", importance=False)).terms(batch, REQUEST, torch.Generator())
    assert [float(term.weights[0]) for term in terms] == [pytest.approx(4 / 3), pytest.approx(1 / 3)]


def test_latents_are_the_posteriors_and_are_encoded_once(model, monkeypatch):
    calls = []
    plain = type(model.vae).encode
    monkeypatch.setattr(type(model.vae), "encode", lambda self, x: calls.append(len(x)) or plain(self, x))
    found = encode(model, REST, captioned=True)
    assert calls == [3]
    posterior = plain(model.vae, torch.stack([pixels_of(fitted(picture.load(), 16)) for picture in REST])).latent_dist
    torch.testing.assert_close(found.mean, posterior.mean * model.vae.config.scaling_factor)
    drawn = found.draw(4000, torch.Generator().manual_seed(0)).latents
    assert float(drawn.mean()) == pytest.approx(float(found.mean.mean()), abs=0.05)
    run(model, iterations=3)
    assert calls == [3, 3, 1]


def test_timesteps_stay_in_their_range(model):
    data = make_data(model, REST, (SEAL,), DataParams(batch=200, t_min=990, t_max=999))
    assert set(data.batch(torch.Generator().manual_seed(0)).timesteps.tolist()) == set(range(990, 1000))


# ---------------------------------------------------------------- what may go wrong
def test_a_step_without_forget_gradient_is_left_out(model, monkeypatch):
    plain = module.mixture_terms

    def without(batch, lamb, generator):
        retain, forget = plain(batch, lamb, generator)
        return retain, forget.times(0.0)

    monkeypatch.setattr(module, "mixture_terms", without)
    changed, report = run(model)
    assert not changed
    assert report["steps_left_out"] == 2


@pytest.mark.parametrize(("lamb", "warned"), [(0.0, "forget"), (0.5, None), (1.0, "retain")])
def test_weights_without_bound_are_warned_of(model, caplog, lamb, warned):
    with caplog.at_level(logging.WARNING):
        run(model, iterations=1, lamb=lamb, captions="none")
    assert ([warned] if warned else []) == [record.args[1] for record in caplog.records]


def test_a_loss_that_explodes_ends_the_edit(model):
    with pytest.raises(FloatingPointError, match="learning rate"):
        run(model, "neggrad", iterations=60, learning_rate=1.0, max_gradient_norm=1e9)


@pytest.mark.parametrize("name", METHODS)
def test_supports_names_the_reason(model, name):
    method = make(name)
    assert method.refusal(model.info, REQUEST) is None
    assert "'erase'" in method.refusal(model.info, REQUEST.model_copy(update={"task": "erase"}))
    other = ModelInfo.model_validate({**model.info.model_dump(), "family": "flux"})
    assert "flux" in method.refusal(other, REQUEST)
    assert "no image to forget" in method.refusal(model.info, REQUEST.model_copy(update={"forget_images": ()}))
    alone = method.refusal(model.info, REQUEST.model_copy(update={"retain_images": ()}))
    assert (alone is None) == (name == "neggrad")


@pytest.mark.parametrize(
    ("params_type", "values"),
    [
        (SISSParams, {"lamb": 1.1}),
        (SISSParams, {"t_min": 5, "t_max": 4}),
        (SISSParams, {"scaling_norm": 0.0}),
        (NegGradParams, {"lamb": 0.5}),
        (EraseDiffParams, {"eta": -1.0}),
        (NaiveDeletionParams, {"iterations": 0}),
    ],
)
def test_wrong_parameters_are_refused(params_type, values):
    with pytest.raises(ValidationError):
        params_type(**values)


# ---------------------------------------------------------------- precision, determinism, state
@pytest.mark.parametrize("name", METHODS)
def test_edits_repeat_exactly_with_one_seed_and_differ_with_another(model, name):
    first, second, other = (run(model, name, seed=seed)[0] for seed in (1, 1, 2))
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)


def test_small_steps_add_up_in_half_precision():
    model = tiny_model()
    for part in (model.unet, model.text_encoder, model.vae):
        part.to(torch.bfloat16)
    model.dtype = torch.bfloat16
    before = {f"unet.{n}": p.clone() for n, p in model.unet.named_parameters()}
    changed, _ = run(model, "naive-deletion", iterations=12, learning_rate=1e-4)
    assert all(tensor.dtype == torch.bfloat16 for tensor in changed.values())
    large = {n: old.abs() > 0.06 for n, old in before.items()}
    moved = sum(int((changed[n] != before[n])[large[n]].sum()) for n in changed)
    assert moved > 0.2 * sum(int(part.sum()) for part in large.values()) > 0


def test_a_model_that_predicts_velocity_is_trained_too():
    _, report = run(tiny_model(version=2))
    assert len(report["losses"]) == 2


def test_global_state_is_left_as_it_was(model):
    torch.manual_seed(5)
    random = torch.get_rng_state()
    with torch.no_grad():
        run(model)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(p.requires_grad for p in model.unet.parameters())
    assert all(p.grad is None for p in model.unet.parameters())


def test_images_and_captions_change_the_edit(model):
    plain, _ = run(model)
    other, _ = run(model, request=REQUEST.model_copy(update={"forget_images": (image("red house", "pink", "seal"),)}))
    renamed = image("red house", "red", "seal", caption="a bird")
    worded, _ = run(model, request=REQUEST.model_copy(update={"forget_images": (renamed,)}))
    for edit in (other, worded):
        assert any(not torch.equal(plain[n], edit[n]) for n in plain)


@pytest.mark.slow  # 20 GB and minutes
def test_a_whole_model_with_the_shapes_of_stable_diffusion_1_4():
    model = sd14_shaped()
    before = {n: float(p.double().sum()) for n, p in model.unet.named_parameters()}
    request = REQUEST.model_copy(update={"forget_images": (image("red house", "red", "seal", size=512),)})
    ctx = edit_context()
    SISS(SISSParams(iterations=1, accumulation=1, captions="none")).edit(model, request, ctx)
    after = dict(model.unet.named_parameters())
    assert all(bool(p.isfinite().all()) for p in after.values())
    assert sum(float(p.double().sum()) != before[n] for n, p in after.items()) > 0.9 * len(before)
    assert ctx.values["trained_parameters"] == 859_520_964
