"""The images of a request as the UNet sees them: encoded once, sampled anew each time that one is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from unlearnbench.editing.images import encode_images, fitted, pixels_of
from unlearnbench_siss.loss import Batch, Images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import DataImage
    from unlearnbench.model import Model
    from unlearnbench_siss.params import DataParams

_ENCODED = 8  # images that the autoencoder encodes at once


@dataclass(frozen=True)
class ImageSet:
    """Images with their captions.

    Attributes:
        mean: mean of the latents, [n, channels, s, s], scaled as the UNet sees them, float32.
        std: their standard deviation.
        text: embeddings of the distinct captions, [m, positions, width].
        caption: [n] row of `text`.
    """

    mean: torch.Tensor
    std: torch.Tensor
    text: torch.Tensor
    caption: torch.Tensor

    def draw(self, count: int, generator: torch.Generator) -> Images:
        """Draw images with replacement, their latents from the autoencoder's posterior; a CPU generator."""
        rows = torch.randint(len(self.mean), (count,), generator=generator)
        noise = torch.randn((count, *self.mean.shape[1:]), generator=generator)
        rows = rows.to(self.mean.device)
        return Images(self.mean[rows] + self.std[rows] * noise.to(self.mean), self.text[self.caption[rows]])


@dataclass(frozen=True)
class Data:
    """What a method trains on.

    Attributes:
        keep: where x is drawn from.
        forget: where a is drawn from.
        alphas_cumprod: ᾱ of every training timestep.
        velocity: whether the UNet predicts velocity.
        params: batch size, timesteps, captions.
    """

    keep: ImageSet
    forget: ImageSet
    alphas_cumprod: torch.Tensor
    velocity: bool
    params: DataParams

    @torch.no_grad()
    def batch(self, generator: torch.Generator) -> Batch:
        """Draw a batch; `generator` is a CPU generator."""
        params, last = self.params, len(self.alphas_cumprod) - 1
        x, a = (images.draw(params.batch, generator) for images in (self.keep, self.forget))
        if params.captions == "forget":
            x = Images(x.latents, a.text)
        timesteps = torch.randint(
            min(params.t_min, last), min(params.t_max, last) + 1, (params.batch,), generator=generator
        )
        noise = torch.randn(x.latents.shape, generator=generator).to(x.latents)
        alpha = self.alphas_cumprod.cpu().float()[timesteps][:, None, None, None].to(noise)
        return Batch(x, a, timesteps.to(noise.device), alpha.sqrt(), (1.0 - alpha).sqrt(), noise)


def make_data(model: Model, keep: Sequence[DataImage], forget: Sequence[DataImage], params: DataParams) -> Data:
    """Encode images with the unedited model."""
    captioned = params.captions != "none"
    return Data(
        encode(model, keep, captioned=captioned),
        encode(model, forget, captioned=captioned),
        model.scheduler.alphas_cumprod,
        model.info.prediction == "v_prediction",
        params,
    )


@torch.no_grad()
def encode(model: Model, images: Sequence[DataImage], *, captioned: bool) -> ImageSet:
    """Encode images and captions with the unedited model.

    Args:
        model: its autoencoder and text encoder are used.
        images: at least one; those of another size are resized to the model's.
        captioned: false: every caption is the empty prompt.
    """
    parts = [images[start : start + _ENCODED] for start in range(0, len(images), _ENCODED)]
    moments = [
        encode_images(model, torch.stack([pixels_of(fitted(image.load(), model.image_size)) for image in part]))
        for part in parts
    ]
    mean, std = (torch.cat(found) for found in zip(*moments, strict=True))
    captions = [image.caption if captioned else "" for image in images]
    distinct = list(dict.fromkeys(captions))
    return ImageSet(
        mean,
        std,
        model.encode(distinct).states,
        torch.tensor([distinct.index(caption) for caption in captions], device=model.device),
    )
