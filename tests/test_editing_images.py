"""Images as tensors, and their latents."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from unlearnbench.editing.images import encode_images, fitted, pixels_of
from unlearnbench.testing import tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_every_level_of_every_channel_stays_where_it_is():
    levels = [(0, 255, 51), (10, 20, 30), (1, 2, 3), (4, 5, 6), (7, 8, 9), (255, 0, 128)]
    image = Image.new("RGB", (2, 3))
    image.putdata(levels)
    tensor = pixels_of(image)
    assert tensor.shape == (3, 3, 2)
    assert ((tensor + 1) * 127.5).round().permute(1, 2, 0).reshape(-1, 3).int().tolist() == [list(p) for p in levels]


def test_an_image_of_the_right_size_is_left_alone_and_another_becomes_a_square():
    image = Image.new("RGB", (8, 8), "red")
    assert fitted(image, 8) is image
    assert fitted(Image.new("RGB", (4, 6), "red"), 8).tobytes() == image.tobytes()


def test_latents_are_scaled_as_the_unet_sees_them(model):
    images = torch.rand(2, 3, model.image_size, model.image_size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = encode_images(model, images)
    assert mean.shape[-1] == model.info.latent_size
    with torch.no_grad():
        posterior = model.vae.encode(images).latent_dist
    torch.testing.assert_close(mean, posterior.mean * model.vae.config.scaling_factor)
    torch.testing.assert_close(std, posterior.std * model.vae.config.scaling_factor)
