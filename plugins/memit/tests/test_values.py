"""Refinement of V1 through a small UNet."""

import pytest
import torch

from unlearnbench.editing.latents import add_noise, predict
from unlearnbench.editing.layers import captured, without_bias
from unlearnbench.editing.refine import clamped, refine
from unlearnbench.testing import tiny_model
from unlearnbench_memit.layers import choose
from unlearnbench_memit.params import MEMITParams


def setting(matrices):
    """Make what the session gives to `refine` for two edit prompts."""
    model = tiny_model()
    layers = choose(model, MEMITParams(matrices=matrices))
    name, layer = next(iter(layers.items()))
    g = torch.Generator().manual_seed(0)
    ids = model.tokenize(["a photo of a cat", "cat"])[0]
    noisy, t = add_noise(torch.randn(2, 4, 8, 8, generator=g), model.scheduler.alphas_cumprod, 10, 50, g)

    def run():
        return predict(model, noisy, t, model.text_encoder(ids).last_hidden_state)

    with torch.no_grad(), captured({name: layer}) as seen:
        run()
        start = without_bias(layer, seen[name][1])
        target = predict(model, noisy, t, model.encode(["a photo of a dog", "dog"]).states)
    return layer, start, run, target


@pytest.mark.parametrize("matrices", ["text", "ffn", "kv"])
def test_refinement_lowers_its_loss_and_changes_nothing_else(matrices):
    layer, start, run, target = setting(matrices)
    weight = layer.weight.clone()
    z, losses = refine(layer, start, run, target, learning_rate=0.02, steps=12, clamp=None)
    assert len(losses) == 12
    assert losses[-1] < 0.95 * losses[0]
    assert z.shape == start.shape
    assert not z.requires_grad
    assert torch.equal(layer.weight, weight)
    assert layer.weight.grad is None
    assert not layer._forward_hooks


def test_a_bounded_refinement_stays_in_its_ball():
    layer, start, run, target = setting("text")
    free, _ = refine(layer, start, run, target, learning_rate=0.2, steps=3, clamp=None)
    held, _ = refine(layer, start, run, target, learning_rate=0.2, steps=3, clamp=0.1)
    share = (held - start).norm(dim=-1) / start.norm(dim=-1)
    assert float(share.max()) <= 0.1 + 1e-5
    assert float(((free - start).norm(dim=-1) / start.norm(dim=-1)).max()) > 0.2


def test_clamping_shortens_what_is_too_long_and_keeps_its_direction():
    start = torch.tensor([[3.0, 4.0], [3.0, 4.0], [3.0, 4.0]])
    z = start + torch.tensor([[10.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    found = clamped(z, start, 0.5) - start
    torch.testing.assert_close(found, torch.tensor([[2.5, 0.0], [0.0, 1.0], [0.0, 0.0]]))
