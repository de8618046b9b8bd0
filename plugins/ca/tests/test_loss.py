"""The losses, on small models and stubs."""

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnbench.testing import tiny_model
from unlearnbench_ca.layers import trained
from unlearnbench_ca.loss import Batch, Noisy, ablation_loss, add_noise, masked_error
from unlearnbench_ca.params import CAParams
from unlearnbench_ca.student import Student, bos_detached


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def noisy(n=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Noisy(
        torch.randn(n, 4, 8, 8, generator=g),
        torch.randint(1000, (n,), generator=g),
        torch.randn(n, 4, 8, 8, generator=g),
    )


def batch(anchors, concepts, **rest):
    return Batch(noisy(len(anchors)), torch.ones(len(anchors), 1, 8, 8), anchors, concepts, **rest)


class Stub:
    """Stands in for the model: text is the number of letters, predictions are what they are told to be."""

    def __init__(self, answer):
        self.answer, self.calls = answer, []

    def encode(self, prompts):
        return torch.tensor([len(prompt) for prompt in prompts]).view(-1, 1, 1).float()

    def predict(self, latents, timesteps, text):
        self.calls.append((latents, torch.is_grad_enabled()))
        return self.answer(latents, text)


def test_t_ca_1_equal_prompts_give_no_loss(model):
    student = Student(model, trained(model.unet, "cross-attn"))
    same = batch(["a photo of a dog", "a dog"], ["a photo of a dog", "a dog"])
    assert float(ablation_loss(student, same, CAParams()).detach()) < 1e-10
    other = batch(["a photo of a dog", "a dog"], ["a photo of a cat", "a cat"])
    assert float(ablation_loss(student, other, CAParams()).detach()) > 1e-8


def test_t_ca_2_a_perfect_prediction_of_the_noise_gives_no_loss():
    data = batch(["a dog"] * 2, ["a cat"] * 2)
    stub = Stub(lambda latents, text: data.noisy.truth)
    assert float(ablation_loss(stub, data, CAParams(variant="noise-based"))) == 0.0
    assert len(stub.calls) == 1
    wrong = Stub(lambda latents, text: data.noisy.truth + 0.5)
    assert float(ablation_loss(wrong, data, CAParams(variant="noise-based"))) == pytest.approx(4 * 0.25)


def test_the_model_based_target_is_the_models_own_answer_to_the_anchor():
    data = batch(["four", "four"], ["seven !", "seven !"])
    stub = Stub(lambda latents, text: text[..., None].expand_as(latents))
    assert float(ablation_loss(stub, data, CAParams())) == pytest.approx(4 * (7 - 4) ** 2)
    assert [grad for _, grad in stub.calls] == [False, True]
    assert all(latents is data.noisy.latents for latents, _ in stub.calls)


def test_prior_preservation_adds_the_denoising_loss_of_anchor_images():
    prior = noisy(2, seed=1)
    data = batch(["a dog"] * 2, ["a cat"] * 2, prior=prior, prior_anchors=["bird"] * 2)
    stub = Stub(lambda latents, text: latents * 0)
    loss = float(ablation_loss(stub, data, CAParams(prior_weight=0.3)))
    assert loss == pytest.approx(0.3 * 4 * float(prior.truth.square().mean()), rel=1e-5)
    assert [latents is prior.latents for latents, _ in stub.calls] == [False, False, True]


def test_t_ca_3_no_gradient_flows_through_the_target(model):
    """The gradient is the same as for a target that is a constant."""
    student = Student(model, trained(model.unet, "cross-attn"))
    data = batch(["a photo of a dog"], ["a photo of a cat"])
    leaves = list(student.masters.values())
    ours = torch.autograd.grad(ablation_loss(student, data, CAParams()), leaves)
    with torch.no_grad():
        target = student.predict(data.noisy.latents, data.noisy.timesteps, student.encode(data.anchors))
    prediction = student.predict(data.noisy.latents, data.noisy.timesteps, student.encode(data.concepts))
    expected = torch.autograd.grad(4 * (prediction - target).square().mean(), leaves)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-9)
    assert max(float(g.abs().max()) for g in ours) > 0


def test_t_ca_3_keys_and_values_of_bos_get_no_gradient(model):
    student = Student(model, trained(model.unet, "cross-attn"))
    data = noisy(2)

    def gradient():
        text = student.encode(["a photo of a cat", "dog"]).requires_grad_(True)
        return torch.autograd.grad(student.predict(data.latents, data.timesteps, text).square().sum(), text)[0]

    free = gradient()
    with bos_detached(model.cross_attention()):
        held = gradient()
    assert bool((held[:, 0] == 0).all())
    assert bool((free[:, 0] != 0).any())
    torch.testing.assert_close(held[:, 1:], free[:, 1:])
    assert torch.equal(gradient(), free)
    assert not any(m._forward_hooks for m in model.unet.modules())


def test_cutting_bos_changes_no_prediction(model):
    student, data = Student(model, trained(model.unet, "attn")), noisy(2)
    text = student.encode(["a photo of a cat", "dog"])
    with torch.no_grad():
        free = student.predict(data.latents, data.timesteps, text)
        with bos_detached(model.cross_attention()):
            assert torch.equal(student.predict(data.latents, data.timesteps, text), free)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), cells=st.integers(1, 9))
def test_t_ca_5_the_loss_does_not_depend_on_how_much_the_mask_shows(seed, cells):
    g = torch.Generator().manual_seed(seed)
    prediction, target = torch.randn(2, 3, 4, 3, 3, generator=g).unbind(0)
    mask = torch.zeros(3, 1, 9)
    mask[:, :, torch.randperm(9, generator=g)[:cells]] = 1.0
    mask = mask.view(3, 1, 3, 3)
    expected = []
    for p, t, m in zip(prediction, target, mask, strict=True):
        shown = ((p - t) ** 2)[:, m[0] == 1]
        expected.append(4 * float(shown.mean()))  # four channels are added
    assert float(masked_error(prediction, target, mask)) == pytest.approx(sum(expected) / 3, rel=1e-4)


def test_t_ca_5_what_the_mask_hides_does_not_count():
    prediction, mask = torch.zeros(1, 4, 2, 2), torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    target = torch.full_like(prediction, 100.0)
    target[:, :, 0, 0] = 2.0
    assert float(masked_error(prediction, target, mask)) == 16.0


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_noisy_latents_and_truth_are_those_of_diffusers(kind):
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type=kind)
    x0 = torch.randn(50, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    made = add_noise(x0, scheduler, torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(0)
    t = torch.randint(1000, (50,), generator=g)
    noise = torch.randn(x0.shape, generator=g)
    assert torch.equal(made.timesteps, t)
    assert int(t.min()) < 100
    assert int(t.max()) > 900
    torch.testing.assert_close(made.latents, scheduler.add_noise(x0, noise, t), rtol=1e-5, atol=1e-5)
    truth = noise if kind == "epsilon" else scheduler.get_velocity(x0, noise, t)
    torch.testing.assert_close(made.truth, truth, rtol=1e-5, atol=1e-5)
