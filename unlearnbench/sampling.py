"""Sampling of images: one denoising loop for every method and for the unedited model."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from unlearnbench.errors import UserError
from unlearnbench.identity import seed_of
from unlearnbench.model import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unlearnbench.model import Model
    from unlearnbench.spec import SamplerSpec

_TRAINED = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
)  # fmt: skip
_DECODED_PIXELS = 512 * 512  # decoded at once: the autoencoder's memory grows with it, the UNet's does not


@torch.inference_mode()
def sample(
    model: Model,
    prompts: Sequence[str],
    seeds: Sequence[int],
    spec: SamplerSpec,
    *,
    negative_prompt: str | None = None,
    batch_size: int = 16,
    on_batch: Callable[[int], None] | None = None,
) -> list[Image.Image]:
    """Sample one image for every prompt and seed with classifier-free guidance.

    The initial noise of an image depends on its seed and on the place of its prompt in the list, and on nothing else:
    neither on the words, the model, the batch size nor the device. So two lists of the same length pair image by
    image. The same call gives the same bits at the same batch size, and the same images up to rounding at another.

    Args:
        model: the model, edited or not.
        prompts: the prompts, in their order.
        seeds: sampling seeds; each prompt is sampled once a seed.
        spec: scheduler, steps, guidance scale, size and arithmetic. A guidance scale of at most 1 means none: the
            prompt alone. Arithmetic other than that of the model's weights runs in autocast.
        negative_prompt: takes the place of the empty prompt in the unconditional branch.
        batch_size: images a UNet call (twice as many rows with guidance).
        on_batch: called after each batch with the number of its images.

    Returns:
        RGB images: all seeds of the first prompt, then all of the second, and so on.

    Raises:
        UserError: the size is no multiple of what the autoencoder compresses by, or the scheduler does not know the
            model's noise schedule.
        FloatingPointError: the model returned NaN or infinity, so that there is no image.

    Source:
        Ho and Salimans, Classifier-Free Diffusion Guidance (2022): e = e(negative) + g * (e(prompt) - e(negative)).
    """
    side = latent_side(model, spec)
    scheduler = _scheduler(model, spec)
    guided = spec.guidance > 1
    texts = list(dict.fromkeys([*prompts, negative_prompt or ""]))
    place = {text: i for i, text in enumerate(texts)}
    states = model.encode(texts).states
    jobs = [(slot, prompt, seed) for slot, prompt in enumerate(prompts) for seed in seeds]
    images: list[Image.Image] = []
    for start in range(0, len(jobs), batch_size):
        batch = jobs[start : start + batch_size]
        rows = [place[prompt] for _, prompt, _ in batch]
        if guided:
            rows = [place[negative_prompt or ""]] * len(batch) + rows
        noise = torch.stack([initial_noise(seed, slot, _channels(model), side) for slot, _, seed in batch])
        with _autocast(model, spec):
            latents = _denoise(model, scheduler, spec, noise.to(model.device), states[rows])
            images += _decode(model, latents)
        if on_batch is not None:
            on_batch(len(batch))
    return images


def rewrite(prompt: str, phrases: dict[str, str]) -> str:
    """Replace whole phrases in a prompt, longest first, whatever their case."""
    for phrase in sorted(phrases, key=len, reverse=True):
        literal = phrases[phrase].replace("\\", r"\\")
        prompt = re.sub(rf"(?<!\w){re.escape(phrase)}(?!\w)", literal, prompt, flags=re.IGNORECASE)
    return prompt


def initial_noise(seed: int, slot: int, channels: int, side: int) -> torch.Tensor:
    """Draw the initial noise of one image on the CPU.

    Args:
        seed: sampling seed.
        slot: place of the prompt in its list.
        channels: latent channels.
        side: height and width of the latents.

    Returns:
        [channels, side, side] standard normal, float32.
    """
    generator = torch.Generator().manual_seed(seed_of("noise", seed, slot))
    return torch.randn(channels, side, side, generator=generator)


def latent_side(model: Model, spec: SamplerSpec) -> int:
    """Return height and width of the latents that `spec` asks of `model`.

    Raises:
        UserError: the size in pixels is no multiple of what the autoencoder compresses by.
    """
    factor = model.compression
    if spec.size is None:
        return model.info.latent_size
    if spec.size % factor:
        raise UserError(
            f"the model cannot make images of {spec.size} pixels: its autoencoder compresses by {factor}",
            f"set size to a multiple of {factor}; the model's own size is {model.image_size}",
        )
    return spec.size // factor


def _scheduler(model: Model, spec: SamplerSpec) -> Any:
    """Build the sampler's scheduler around the noise schedule that the model was trained with."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
    from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
    from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler
    from diffusers.schedulers.scheduling_pndm import PNDMScheduler

    # What a saved configuration says beyond the noise schedule depends on the class and the library that saved it, so
    # the harness says it: the conventions of Stable Diffusion for each scheduler.
    leading = {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False}
    schedulers: dict[str, tuple[Any, dict[str, Any]]] = {
        "ddim": (DDIMScheduler, {**leading, "clip_sample": False}),
        "dpm++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
        "lms": (LMSDiscreteScheduler, {}),
        "pndm": (PNDMScheduler, {**leading, "skip_prk_steps": True}),
        "euler": (EulerDiscreteScheduler, {}),
    }
    kind, settings = schedulers[spec.scheduler]
    trained = {name: model.scheduler.config[name] for name in _TRAINED if name in model.scheduler.config}
    if model.scheduler.config.get("rescale_betas_zero_snr"):
        if spec.scheduler in ("lms", "pndm"):
            raise UserError(
                f"the scheduler {spec.scheduler} cannot sample a model trained down to zero signal-to-noise ratio",
                "set scheduler to ddim, dpm++ or euler",
            )
        settings = {**settings, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    with quiet():
        return kind(**trained, **settings)


def _denoise(
    model: Model, scheduler: Any, spec: SamplerSpec, noise: torch.Tensor, states: torch.Tensor
) -> torch.Tensor:
    """Run the reverse process from unit noise [n, c, h, w]; `states` holds n rows, or 2n with guidance."""
    with quiet():
        scheduler.set_timesteps(spec.steps, device=model.device)  # also forgets the steps of the batch before
    latents: torch.Tensor = noise * scheduler.init_noise_sigma
    guided = len(states) > len(noise)
    for step in scheduler.timesteps:
        x = scheduler.scale_model_input(latents, step).to(model.dtype)
        output = model.unet(torch.cat([x, x]) if guided else x, step, states, return_dict=False)[0].float()
        if guided:
            negative, positive = output.chunk(2)
            output = torch.lerp(negative, positive, spec.guidance)
        latents = scheduler.step(output, step, latents, return_dict=False)[0]
    return latents


def _decode(model: Model, latents: torch.Tensor) -> list[Image.Image]:
    at_once = max(1, _DECODED_PIXELS // (latents.shape[-1] * model.compression) ** 2)
    images: list[Image.Image] = []
    for part in torch.split(latents, at_once):
        scaled = (part / model.vae.config.scaling_factor).to(model.dtype)
        pixels = model.vae.decode(scaled, return_dict=False)[0].float()
        if not bool(pixels.isfinite().all()):
            raise FloatingPointError("the model returned NaN or infinity in place of an image")
        levels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        images += [Image.fromarray(array, "RGB") for array in levels.permute(0, 2, 3, 1).cpu().contiguous().numpy()]
    return images


def _channels(model: Model) -> int:
    return int(model.vae.config.latent_channels)


def _autocast(model: Model, spec: SamplerSpec) -> AbstractContextManager[Any]:
    wanted: torch.dtype = model.dtype if spec.dtype is None else getattr(torch, spec.dtype)
    if wanted == model.dtype:
        return nullcontext()
    if model.dtype != torch.float32:
        raise ValueError(f"a model in {model.dtype} cannot sample in {spec.dtype}: load it in {spec.dtype} or float32")
    return torch.autocast(model.device.type, dtype=wanted)
