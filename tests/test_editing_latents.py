"""Latents and their noisy versions."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from unlearnbench.editing.latents import add_noise, lms_scheduler, sample_latents
from unlearnbench.testing import tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with numpy 2
def test_latents_are_those_of_the_pipeline_with_the_lms_scheduler(model):
    prompts = ["a photo of a cat", "a red dog"]
    text, empty = model.encode(prompts).states, model.encode([""]).states
    ours = sample_latents(model, text, empty, steps=4, guidance=7.5, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    pipe = StableDiffusionPipeline(
        vae=model.vae,
        text_encoder=model.text_encoder,
        tokenizer=model.tokenizer,
        unet=model.unet,
        scheduler=lms_scheduler(model, 4),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(
        prompt_embeds=text,
        negative_prompt_embeds=empty.expand_as(text),
        latents=noise,
        num_inference_steps=4,
        guidance_scale=7.5,
        output_type="latent",
    ).images
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_noise_preserves_the_variance():
    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
    x0 = torch.randn(500, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    noisy, t = add_noise(x0, alphas, 10, 50, torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(0)
    expected_t = torch.randint(10, 51, (500,), generator=g)
    noise = torch.randn(x0.shape, generator=g)
    assert torch.equal(t, expected_t)
    a = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)[t.numpy()][:, None, None, None]
    np.testing.assert_allclose(noisy.numpy(), np.sqrt(a) * x0.numpy() + np.sqrt(1 - a) * noise.numpy(), atol=1e-5)
    assert (int(t.min()), int(t.max())) == (10, 50)
