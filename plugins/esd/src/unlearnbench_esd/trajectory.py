"""Partial DDIM trajectories: noisy latents x_t as a model on its way from noise to an image makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from unlearnbench.model import quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    from unlearnbench.model import Model

    Predict = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

ROWS = 16  # latents of one UNet call without gradient, so that memory does not grow with the buffer
_SCHEDULE = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "rescale_betas_zero_snr",
)  # fmt: skip


def ddim_scheduler(model: Model, steps: int) -> Any:
    """Return a deterministic DDIM scheduler with the model's noise schedule, set to `steps` steps."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    config = model.scheduler.config
    # a model that was trained down to zero signal-to-noise ratio has to start at the last timestep
    spacing = "trailing" if config.get("rescale_betas_zero_snr") else "leading"
    with quiet():
        scheduler: Any = DDIMScheduler(
            **{name: config[name] for name in _SCHEDULE if name in config},
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            timestep_spacing=spacing,
        )
        scheduler.set_timesteps(steps, device=model.device)
    return scheduler


def in_parts(
    predict: Predict, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Return predictions for any number of rows, a few rows a call, in float32; `dtype` is that of the UNet."""
    parts = zip(*(torch.split(rows, ROWS) for rows in (latents.to(dtype), timesteps, text)), strict=True)
    return torch.cat([predict(*part).float() for part in parts])


@torch.no_grad()
def sample_points(
    predict: Predict,
    scheduler: Any,
    noise: torch.Tensor,
    text: torch.Tensor,
    empty: torch.Tensor,
    wanted: torch.Tensor,
    *,
    guidance: float,
) -> torch.Tensor:
    """Run trajectories of n prompts and keep each at k of its steps.

    A trajectory ends where its last wanted point is, as in the paper, and so takes half of the steps on average.

    Args:
        predict: the UNet whose trajectories they are.
        scheduler: of `ddim_scheduler`.
        noise: [n, channels, s, s], float32.
        text: [n, positions, width].
        empty: [1, positions, width] text embedding of the empty prompt.
        wanted: [n, k] steps that are left when a point is taken; 0 = nothing is left but the last step.
        guidance: guidance scale.

    Returns:
        [n, k, channels, s, s] latents.
    """
    latents: torch.Tensor = noise * scheduler.init_noise_sigma
    kept = latents.new_empty(*wanted.shape, *latents.shape[1:])
    last = wanted.amin(dim=1)
    for left, timestep in zip(reversed(range(len(scheduler.timesteps))), scheduler.timesteps, strict=True):
        here = wanted == left
        kept[here] = latents[here.nonzero()[:, 0]]
        rows = (last < left).nonzero()[:, 0]
        if not len(rows):
            break
        x, c = latents[rows], text[rows]
        if guidance == 1.0:
            guided = in_parts(predict, x, timestep.expand(len(rows)), c, text.dtype)
        else:
            both = torch.cat([empty.expand_as(c), c])
            output = in_parts(predict, torch.cat([x, x]), timestep.expand(2 * len(rows)), both, text.dtype)
            unconditional, conditional = output.chunk(2)
            guided = torch.lerp(unconditional, conditional, guidance)
        latents[rows] = scheduler.step(guided, timestep, x, return_dict=False)[0]
    return kept


def loss_timesteps(left: torch.Tensor, scheduler: Any, *, exact: bool, generator: torch.Generator) -> torch.Tensor:
    """Return t of the loss for points with `left` steps left.

    Args:
        left: [n] as `wanted` of `sample_points`, on the CPU.
        scheduler: of `ddim_scheduler`.
        exact: t is the timestep that x_t belongs to; else uniform among the training timesteps of its step, from
            left · (T // S) to (left + 1) · (T // S) − 1 for T of them and S steps (first code of the authors).
        generator: CPU generator.

    Returns:
        [n] int64, on the CPU.
    """
    if exact:
        steps: torch.Tensor = scheduler.timesteps.cpu().flip(0)
        return steps[left]
    width: int = scheduler.config.num_train_timesteps // len(scheduler.timesteps)
    return left * width + torch.randint(width, left.shape, generator=generator)
