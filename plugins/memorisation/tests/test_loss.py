"""Noise-prediction losses against the formula, and the report on stored edits."""

import numpy as np
import pytest
import torch
from PIL import Image

from unlearnbench.api import DataImage
from unlearnbench.testing import tiny_model
from unlearnbench_memorisation.__main__ import measure
from unlearnbench_memorisation.loss import image_losses, membership_auc


def image(seed, caption="a cat"):
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return DataImage.lazily(lambda: Image.fromarray(pixels), id=f"i{seed}", caption=caption)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_the_loss_is_the_mean_squared_error_of_the_noise(model, monkeypatch):
    seen = []
    plain = model.unet.forward

    def watched(latents, timesteps, text, **kwargs):
        seen.append((latents, timesteps))
        return plain(latents, timesteps, text, **kwargs)

    monkeypatch.setattr(model.unet, "forward", watched)
    (found,) = image_losses(model, [image(0)], timesteps=(100, 700), draws=2)
    (latents, timesteps) = seen[0]
    assert timesteps.tolist() == [100, 100, 700, 700]
    pixels = torch.from_numpy(np.asarray(image(0).load(), dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        x = model.vae.encode(pixels).latent_dist.mean * model.vae.config.scaling_factor
        alpha = model.scheduler.alphas_cumprod[timesteps][:, None, None, None]
        noise = (latents - alpha.sqrt() * x) / (1 - alpha).sqrt()
        text = model.encode(["a cat"]).states.expand(4, -1, -1)
        expected = (plain(latents, timesteps, text).sample - noise).square().mean()
    assert found == pytest.approx(float(expected), rel=1e-4)
    assert len({row.sum().item() for row in noise}) == 4


def test_noise_is_the_same_for_every_model_and_another_for_every_image_and_seed(model):
    losses = image_losses(model, [image(0), image(1)], timesteps=(500,))
    assert image_losses(model, [image(1), image(0)], timesteps=(500,)) == pytest.approx(losses[::-1], rel=1e-5)
    assert image_losses(model, [image(0)], timesteps=(500,), seed=1) != pytest.approx(losses[:1], rel=1e-5)
    assert image_losses(model, [image(0, "")], timesteps=(500,)) != pytest.approx(losses[:1], rel=1e-7)


def test_a_model_that_predicts_velocity_is_asked_for_noise(monkeypatch):
    model = tiny_model(version=2)
    known = {}

    class Exact:
        def __init__(self, sample):
            self.sample = sample

    def forward(latents, timesteps, text, **kwargs):
        alpha = model.scheduler.alphas_cumprod[timesteps][:, None, None, None]
        noise = (latents - alpha.sqrt() * known["x"]) / (1 - alpha).sqrt()
        return Exact(alpha.sqrt() * noise - (1 - alpha).sqrt() * known["x"])

    pixels = torch.from_numpy(np.asarray(image(0).load(), dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        known["x"] = model.vae.encode(pixels).latent_dist.mean * model.vae.config.scaling_factor
    monkeypatch.setattr(model.unet, "forward", forward)
    assert image_losses(model, [image(0)], timesteps=(100, 900))[0] < 1e-8


def test_membership_is_the_share_of_pairs_in_the_expected_order():
    assert membership_auc([0.1, 0.2], [0.3, 0.4]) == 1.0
    assert membership_auc([0.3], [0.1, 0.2, 0.3, 0.4]) == pytest.approx(1.5 / 4)
    with pytest.raises(ValueError, match="at least one"):
        membership_auc([], [0.1])


def test_parts_without_images_have_no_loss(model):
    found = measure(model, {"forget": [image(0)], "retain": [], "heldout": []}, draws=1)
    assert found["forget"] > 0
    assert (found["retain"], found["heldout"], found["membership"]) == (None, None, None)
