"""The losses of Concept Ablation, and the noisy latents that they are taken on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench_ca.params import CAParams


class Predictor(Protocol):
    """ε_θ with its text encoder."""

    def encode(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return text embeddings, [n, positions, width]."""
        ...

    def predict(self, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return the prediction, shaped as `latents`."""
        ...


@dataclass(frozen=True)
class Noisy:
    """Noisy latents of anchor images, with what the unedited training objective wants there.

    Attributes:
        latents: x_t, [n, channels, s, s].
        timesteps: t, [n].
        truth: ε, or the velocity for a model that predicts it; shaped as `latents`.
    """

    latents: torch.Tensor
    timesteps: torch.Tensor
    truth: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        noisy: x_t of anchor images.
        mask: [n, 1, s, s], 1 where there is an image.
        anchors: their anchor prompts.
        concepts: the prompts of the concept that take their places.
        prior: x_t of further anchor images, for prior preservation; None without it.
        prior_anchors: their anchor prompts.
    """

    noisy: Noisy
    mask: torch.Tensor
    anchors: Sequence[str]
    concepts: Sequence[str]
    prior: Noisy | None = None
    prior_anchors: Sequence[str] = ()


def add_noise(x0: torch.Tensor, scheduler: Any, generator: torch.Generator) -> Noisy:
    """Return x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε for a random t and ε of each latent.

    Args:
        x0: [n, channels, s, s].
        scheduler: with the model's noise schedule.
        generator: CPU generator.
    """
    alphas: torch.Tensor = scheduler.alphas_cumprod
    timesteps = torch.randint(len(alphas), (len(x0),), generator=generator)
    noise = torch.randn(x0.shape, generator=generator).to(x0.device)
    alpha = alphas.cpu()[timesteps].to(x0)[:, None, None, None]
    noisy = alpha.sqrt() * x0 + (1.0 - alpha).sqrt() * noise
    velocity = scheduler.config.get("prediction_type") == "v_prediction"
    truth = alpha.sqrt() * noise - (1.0 - alpha).sqrt() * x0 if velocity else noise
    return Noisy(noisy, timesteps.to(x0.device), truth)


def masked_error(prediction: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean over samples of Σ mask · (prediction − target)² / Σ mask.

    The mask has one channel, so that the errors of all channels of a latent are added, as in the authors' code: a mask
    of ones gives the mean over all elements times the number of channels.

    Args:
        prediction: [n, channels, s, s].
        target: like `prediction`.
        mask: [n, 1, s, s], not all zero.
    """
    error = (mask * (prediction - target).square()).sum(dim=(1, 2, 3))
    return (error / mask.sum(dim=(1, 2, 3))).mean()


def ablation_loss(model: Predictor, batch: Batch, params: CAParams) -> torch.Tensor:
    """Return the loss of one batch.

    model-based: ‖sg[ε_θ(x_t, c*, t)] − ε_θ(x_t, c, t)‖², c* the anchor's prompt, c the concept's. The target is made by
    the model in training itself, without gradient.
    noise-based: ‖ε − ε_θ(x_t, c, t)‖².
    prior preservation: + prior_weight · ‖ε − ε_θ(x_t', c*', t')‖² on further anchor images.
    """
    noisy = batch.noisy
    if params.variant == "model-based":
        with torch.no_grad():
            target = model.predict(noisy.latents, noisy.timesteps, model.encode(batch.anchors))
    else:
        target = noisy.truth
    prediction = model.predict(noisy.latents, noisy.timesteps, model.encode(batch.concepts))
    loss = masked_error(prediction, target, batch.mask)
    if batch.prior is not None:
        prior = batch.prior
        kept = model.predict(prior.latents, prior.timesteps, model.encode(batch.prior_anchors))
        loss = loss + params.prior_weight * masked_error(kept, prior.truth, torch.ones_like(kept[:, :1]))
    return loss
