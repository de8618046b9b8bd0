"""Latents of the edit prompts, made by the unedited model, and their noisy versions."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unlearnbench.model import Model


def predict(
    model: Model,
    latents: torch.Tensor,
    timesteps: torch.Tensor,
    embedding: torch.Tensor,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Return the UNet's prediction for noisy latents.

    Args:
        model: its UNet is asked.
        latents: x_t, [n, channels, s, s].
        timesteps: [n], or one for all.
        embedding: [n, positions, width] text embedding.
        weights: UNet parameters, by name, that take the place of its own in this call.
    """
    text = {"encoder_hidden_states": embedding, "return_dict": False}
    output: torch.Tensor = torch.func.functional_call(model.unet, dict(weights or {}), (latents, timesteps), text)[0]
    return output


@torch.no_grad()
def sample_latents(
    model: Model,
    embedding: torch.Tensor,
    unconditional: torch.Tensor,
    *,
    steps: int,
    guidance: float,
    generator: torch.Generator,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Run a short LMS trajectory and return its latents; no image is decoded.

    Args:
        model: its UNet denoises.
        embedding: [n, positions, width] text embedding of the edit prompts, from the unedited encoder.
        unconditional: [1, positions, width] text embedding of the empty prompt.
        steps: denoising steps.
        guidance: guidance scale.
        generator: CPU generator of the initial noise.
        weights: as in `predict`.

    Returns:
        [n, channels, s, s] latents.
    """
    scheduler = lms_scheduler(model, steps)
    count, size = len(embedding), model.info.latent_size
    shape = (count, model.unet.config.in_channels, size, size)
    latents: torch.Tensor = (
        torch.randn(shape, generator=generator).to(model.device, model.dtype) * scheduler.init_noise_sigma
    )
    text = torch.cat([unconditional.expand_as(embedding), embedding])
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(torch.cat([latents, latents]), timestep).to(model.dtype)
        empty, conditioned = predict(model, scaled, timestep, text, weights).chunk(2)
        guided = empty + guidance * (conditioned - empty)
        latents = scheduler.step(guided, timestep, latents, return_dict=False)[0].to(model.dtype)
    return latents


def lms_scheduler(model: Model, steps: int) -> Any:
    """Return an LMS scheduler with the model's noise schedule, set to `steps` steps."""
    from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler

    with warnings.catch_warnings():
        # diffusers makes numpy arrays of tensors in a way that numpy 2 deprecates
        warnings.filterwarnings("ignore", category=DeprecationWarning, message="__array__ implementation")
        scheduler: Any = LMSDiscreteScheduler.from_config(model.scheduler.config)
        scheduler.set_timesteps(steps, device=model.device)
    return scheduler


def add_noise(
    latents: torch.Tensor, alphas_cumprod: torch.Tensor, t_min: int, t_max: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, one timestep and one noise for each latent, and the timesteps.

    Args:
        latents: x_0, [n, channels, s, s].
        alphas_cumprod: ᾱ of every training timestep.
        t_min: smallest timestep.
        t_max: largest timestep, included.
        generator: CPU generator of timesteps and noise.
    """
    timesteps = torch.randint(t_min, t_max + 1, (len(latents),), generator=generator)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device, latents.dtype)
    alpha = alphas_cumprod.cpu()[timesteps].to(latents.device, latents.dtype)[:, None, None, None]
    return alpha.sqrt() * latents + (1.0 - alpha).sqrt() * noise, timesteps.to(latents.device)
