"""Refinement of V1 through a small UNet."""

import pytest
import torch

from unlearnbench.editing.latents import add_noise, predict
from unlearnbench.editing.layers import captured, frozen, without_bias
from unlearnbench.editing.refine import refine
from unlearnbench.testing import tiny_model
from unlearnbench_alphaedit.encoder import fc2_layers, states


@pytest.fixture
def model():
    return tiny_model()


def setting(model, number=1):
    """Make what the method gives to `refine` for two edit prompts."""
    g = torch.Generator().manual_seed(0)
    layer = fc2_layers(model.text_encoder)[number]
    ids = model.tokenize(["a photo of a cat", "cat"])[0]
    noisy, t = add_noise(torch.randn(2, 4, 8, 8, generator=g), model.scheduler.alphas_cumprod, 10, 50, g)
    with torch.no_grad():
        with captured({number: layer}) as seen:
            states(model, ids)
        target = predict(model, noisy, t, model.encode(["a photo of a dog", "dog"]).states)
    start = without_bias(layer, seen[number][1])
    return layer, start, lambda: predict(model, noisy, t, states(model, ids)), target


@pytest.mark.parametrize("number", [0, 1, 2])
def test_t_ae_11_refinement_lowers_its_loss(model, number):
    layer, start, edited, target = setting(model, number)
    z, losses = refine(layer, start, edited, target, learning_rate=0.02, steps=12)
    assert len(losses) == 12
    assert losses[-1] < 0.7 * losses[0]
    assert z.shape == start.shape
    assert not z.requires_grad
    with torch.no_grad():
        assert losses[0] == pytest.approx(float((edited() - target).square().mean()), rel=1e-3)


def test_t_ae_11_only_z_gets_a_gradient_and_no_weight_changes(model):
    layer, start, edited, target = setting(model)
    names = {"text_encoder": model.text_encoder, "unet": model.unet}
    before = {(k, n): p.clone() for k, part in names.items() for n, p in part.named_parameters()}
    with frozen(model.unet, model.text_encoder):
        refine(layer, start, edited, target, learning_rate=0.2, steps=3)
    for k, part in names.items():
        for n, p in part.named_parameters():
            assert p.grad is None
            assert torch.equal(p, before[k, n])
    assert not layer._forward_hooks


def test_refinement_is_adam_on_the_prediction_error(model):
    layer, start, edited, target = setting(model)
    rate = 0.1
    z, _ = refine(layer, start, edited, target, learning_rate=rate, steps=2)
    # Adam by hand, with gradients of the same loss
    free, m, v = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for step in (1, 2):
        leaf = free.clone().requires_grad_(True)
        handle = layer.register_forward_hook(lambda *_, leaf=leaf: leaf + layer.bias)
        (grad,) = torch.autograd.grad((edited() - target).square().mean(), leaf)
        handle.remove()
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        free = free - rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
    torch.testing.assert_close(z, free, rtol=0, atol=1e-4)
    assert (z - start).abs().max() > rate


def test_refinement_works_where_gradients_are_switched_off(model):
    layer, start, edited, target = setting(model)
    with torch.no_grad():
        z, _ = refine(layer, start, edited, target, learning_rate=0.1, steps=1)
        assert not torch.is_grad_enabled()
    assert not torch.equal(z, start)


class Stop(Exception):  # noqa: N818  raised to leave a block
    pass


def leave(seen):
    assert seen
    raise Stop


def test_frozen_puts_flags_back(model):
    first = next(model.unet.parameters())
    first.requires_grad_(True)
    with pytest.raises(Stop):  # noqa: SIM117  the block that is left
        with frozen(model.unet):
            leave(not first.requires_grad)
    assert first.requires_grad
    assert sum(p.requires_grad for p in model.unet.parameters()) == 1
