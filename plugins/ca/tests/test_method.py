"""The method on a small Stable Diffusion, through the interface that the harness uses."""

import pytest
import torch
from pydantic import ValidationError

from unlearnbench.api import EditPair, ForgetConcept, ModelInfo, Request
from unlearnbench.errors import UserError
from unlearnbench.testing import edit_context, sd14_shaped, tiny_model, try_edit
from unlearnbench_ca import method as module
from unlearnbench_ca.layers import trained
from unlearnbench_ca.loss import ablation_loss
from unlearnbench_ca.method import ConceptAblation, scaled_rate
from unlearnbench_ca.params import CAParams
from unlearnbench_ca.student import Student

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
RED = ForgetConcept(id="red", kind="style", name="red painting", target="painting")
REQUEST = Request(forget=(CAT,))
FAST = {"iterations": 2, "batch": 2, "images": 3, "image_steps": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture
def run(tmp_path):
    def edit(model, request=REQUEST, seed=0, **params):
        return try_edit(ConceptAblation(CAParams(**(FAST | params))), model, request, seed, tmp_path)

    return edit


@pytest.mark.parametrize("train_method", ["cross-attn", "attn", "full"])
@pytest.mark.parametrize("variant", ["model-based", "noise-based"])
def test_exactly_the_chosen_parameters_change(model, run, train_method, variant):
    changed, report = run(model, train_method=train_method, variant=variant)
    chosen = trained(model.unet, train_method)
    assert set(changed) == {f"unet.{name}" for name in chosen}
    assert all(bool(tensor.isfinite().all()) for tensor in changed.values())
    assert report["trained_parameters"] == sum(p.numel() for p in chosen.values())
    assert report["weight_change"] > 0
    assert len(report["losses"]) == 2


def test_the_embedding_of_the_concepts_tokens_alone_changes(model, run):
    before = model.text_encoder.get_input_embeddings().weight.clone()
    changed, report = run(model, Request(forget=(RED,)), train_method="embedding")
    (name,) = changed
    assert name == "text_encoder.text_model.embeddings.token_embedding.weight"
    rows = (changed[name] != before).any(dim=1).nonzero()[:, 0].tolist()
    assert rows == sorted(model.tokenizer("red painting", add_special_tokens=False)["input_ids"])
    assert report["trained_parameters"] == 2 * 32


def test_t_ca_3_only_copies_get_a_gradient(model, run):
    run(model, train_method="attn")
    assert all(p.grad is None and not p.requires_grad for p in model.unet.parameters())
    assert all(p.grad is None and not p.requires_grad for p in model.text_encoder.parameters())


def test_the_embedding_learns_to_mean_the_anchor(model, run):
    """Only the concept's token moves, so that the answer to the anchor stands still."""
    g = torch.Generator().manual_seed(3)
    x, t = torch.randn(8, 4, 8, 8, generator=g), torch.randint(1000, (8,), generator=g)

    def answer(text):
        with torch.no_grad():
            return model.unet(x, t, model.encode([text]).states.expand(8, -1, -1)).sample

    settings = {"train_method": "embedding", "iterations": 25, "batch": 4, "images": 4, "augment": False}
    changed, _ = run(model, learning_rate=0.01, scale_learning_rate=False, **settings)
    anchor, before = answer("a photo of a dog"), answer("a photo of a cat")
    model.apply(changed)
    after = answer("a photo of a cat")
    assert torch.equal(answer("a photo of a dog"), anchor)
    model.restore()
    assert float((after - anchor).square().mean()) < 0.5 * float((before - anchor).square().mean())


@pytest.mark.parametrize("train_method", ["cross-attn", "attn", "full"])
def test_a_step_moves_the_answer_to_the_concept_towards_that_to_the_anchor(model, run, monkeypatch, train_method):
    batches = []
    plain = module.ablation_loss
    monkeypatch.setattr(module, "ablation_loss", lambda s, batch, p: (batches.append(batch), plain(s, batch, p))[1])
    changed, _ = run(model, train_method=train_method, iterations=1, batch=4, learning_rate=1e-6, augment=False)
    noisy = batches[0].noisy

    def answer(prompts):
        with torch.no_grad():
            return model.unet(noisy.latents, noisy.timesteps, model.encode(prompts).states).sample

    anchor, before = answer(batches[0].anchors), answer(batches[0].concepts)
    model.apply(changed)
    after = answer(batches[0].concepts)
    model.restore()
    assert float((after - anchor).double().square().mean()) < float((before - anchor).double().square().mean())


def test_one_iteration_is_adamw_on_the_clipped_gradient(model, run, monkeypatch):
    """Follow one iteration by hand."""
    seen = []
    plain = module.ablation_loss

    def watched(student, batch, params):
        seen.append(batch)
        return plain(student, batch, params)

    monkeypatch.setattr(module, "ablation_loss", watched)
    clip, rate, decay = 1e-6, 1e-3, 0.1
    changed, report = run(
        model, iterations=1, learning_rate=rate, scale_learning_rate=False, weight_decay=decay, max_gradient_norm=clip
    )
    chosen = trained(model.unet, "cross-attn")
    student = Student(model, chosen)
    with module.bos_detached(model.cross_attention()):
        loss = ablation_loss(student, seen[0], CAParams())
    grads = torch.autograd.grad(loss, list(student.masters.values()))
    norm = torch.cat([g.flatten() for g in grads]).norm()
    assert norm > clip
    assert report["losses"] == [pytest.approx(float(loss.detach()), rel=1e-4)]
    for (name, old), grad in zip(chosen.items(), grads, strict=True):
        g = grad * clip / (norm + 1e-6)
        expected = old * (1 - rate * decay) - rate * g / (g.abs() + 1e-8)
        clear = grad.abs() > 0.05 * grad.abs().max()
        torch.testing.assert_close(changed[f"unet.{name}"][clear], expected[clear], rtol=0, atol=3e-5)


@pytest.mark.parametrize(
    ("params", "rate"),
    [
        ({}, 1.6e-5),
        ({"prior_preservation": True}, 3.2e-5),
        ({"batch": 1}, 2e-6),
        ({"scale_learning_rate": False, "prior_preservation": True}, 2e-6),
    ],
)
def test_the_learning_rate_grows_with_the_batch(params, rate):
    assert scaled_rate(CAParams(**params)) == pytest.approx(rate)


def test_several_concepts_are_ablated_at_once(model, run):
    changed, report = run(model, Request(forget=(CAT, RED)), prior_preservation=True)
    assert changed
    assert report["anchor_images"] == {"cat": 3, "red": 3}
    assert report["anchor_prompts"] == {"cat": 2, "red": 10}


def test_small_steps_add_up_in_half_precision(run):
    """In bfloat16 a step of 1e-4 is lost on weights above 0.05; the single-precision copies keep it."""
    model = tiny_model()
    for part in (model.unet, model.text_encoder, model.vae):
        part.to(torch.bfloat16)
    model.dtype = torch.bfloat16
    before = {name: p.clone() for name, p in trained(model.unet, "cross-attn").items()}
    changed, _ = run(model, iterations=12, learning_rate=1e-4, scale_learning_rate=False, augment=False)
    large = moved = 0
    for name, old in before.items():
        big = old.abs() > 0.06
        large += int(big.sum())
        moved += int((changed[f"unet.{name}"] != old)[big].sum()) if f"unet.{name}" in changed else 0
    assert all(t.dtype == torch.bfloat16 for t in changed.values())
    assert moved > 0.3 * large > 0


def test_edits_repeat_exactly_with_one_seed_and_differ_with_another(model, run):
    first, _ = run(model, seed=1)
    second, _ = run(model, seed=1)
    other, _ = run(model, seed=2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_global_state_is_left_as_it_was(model, run):
    def state():
        return torch.get_num_threads(), torch.is_grad_enabled(), float(torch.tensor([1e-39]).double())

    torch.manual_seed(5)
    random, before = torch.get_rng_state(), state()
    run(model)
    assert torch.equal(torch.get_rng_state(), random)
    assert state() == before
    assert not any(m._forward_hooks for m in model.unet.modules())


def test_training_works_where_gradients_are_switched_off(model, run):
    with torch.no_grad():
        changed, _ = run(model)
        assert not torch.is_grad_enabled()
    assert changed


def test_a_model_that_predicts_velocity_is_trained_too(run):
    changed, report = run(tiny_model(version=2), variant="noise-based", prior_preservation=True)
    assert changed
    assert len(report["losses"]) == 2


def test_a_loss_that_explodes_ends_the_edit(model, run):
    with pytest.raises(FloatingPointError, match="learning rate"):
        run(model, train_method="full", learning_rate=1.0, scale_learning_rate=False, iterations=200, augment=False)


@pytest.mark.parametrize(
    "params",
    [
        {"images": 0},
        {"variant": "model"},
        {"train_method": "full-weight"},
        {"max_gradient_norm": 0},
        {"rewrite": "object"},
        {"unknown": 1},
    ],
)
def test_wrong_parameters_are_refused(params):
    with pytest.raises(ValidationError):
        CAParams(**params)


def test_supports_names_the_reason(model):
    def reason(concept, info=model.info, **params):
        return ConceptAblation(CAParams(**params)).supports(info, Request(forget=(concept,)))

    assert reason(CAT) is None
    assert reason(RED) is None
    assert "cross-attention" in reason(CAT, ModelInfo.model_validate({**model.info.model_dump(), "family": "flux"}))
    assert "anchor" in reason(CAT.model_copy(update={"target": " "}))
    assert "no edit prompts for red" in reason(RED, rewrite="pairs")
    odd = CAT.model_copy(update={"target": "wolf"})
    assert "rewrite = 'pairs'" in reason(odd)
    assert reason(odd, rewrite="pairs") is None


def test_a_unet_without_such_layers_is_refused(model, run, monkeypatch):
    monkeypatch.setattr(module, "trained", lambda unet, train_method: {})
    with pytest.raises(UserError, match="cross-attn"):
        run(model)


@pytest.mark.slow  # 8 GB and minutes
def test_a_whole_model_with_the_shapes_of_stable_diffusion_1_4(tmp_path):
    model = sd14_shaped()
    names = trained(model.unet, "cross-attn")
    chosen = {name: p.clone() for name, p in names.items()}
    rest = {name: float(p.double().sum()) for name, p in model.unet.named_parameters() if name not in names}
    ctx = edit_context(0, tmp_path)
    settings = CAParams(iterations=2, batch=1, images=1, image_steps=2)
    ConceptAblation(settings).edit(model, REQUEST, ctx)
    own = dict(model.unet.named_parameters())
    assert all(bool(own[name].isfinite().all()) and not torch.equal(own[name], old) for name, old in chosen.items())
    assert all(float(own[name].double().sum()) == total for name, total in rest.items())
    assert ctx.values["trained_parameters"] == 19_169_280
