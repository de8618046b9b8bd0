"""Train the noise predictor on cached latents and caption embeddings.

`python -m unlearnbench_emojiworld.train.unet [--resume] [--seconds S] --out DIR`, after `train.cache`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.train.arithmetic import mixed
from unlearnbench_emojiworld.train.cache import Cache
from unlearnbench_emojiworld.train.fit import Part, fit, start
from unlearnbench_emojiworld.train.grids import Grids
from unlearnbench_emojiworld.train.parallel import Processes
from unlearnbench_emojiworld.train.schedule import NOISE_STEPS, SCHEDULE
from unlearnbench_emojiworld.train.warm import gentle, warm

if TYPE_CHECKING:
    from torch import Tensor

    from unlearnbench_emojiworld.train.config import UnetSettings
    from unlearnbench_emojiworld.train.fit import Batch


def build(settings: UnetSettings, text_width: int, latent_size: int) -> UNet2DConditionModel:
    """Return an untrained noise predictor with cross-attention at two levels and in the middle.

    As in Stable Diffusion 1, `attention_head_dim` is the number of heads. Attention is computed step by step while
    training: the fused kernel's backward pass takes forty per cent of a step on processors. Saved weights are
    not concerned.
    """
    unet = UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=4,
        out_channels=4,
        block_out_channels=settings.channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=settings.heads,
    )
    unet.set_attn_processor(AttnProcessor())
    return unet


class Objective:
    """The weighted noise error of one batch; call it with a batch.

    The loss of a time step is weighted by min(snr, limit) / snr (Hang et al. 2023, "Efficient Diffusion Training via
    Min-SNR Weighting Strategy", for noise prediction).
    """

    def __init__(self, unet: UNet2DConditionModel, cache: Cache, settings: UnetSettings) -> None:
        self.unet, self.cache, self.settings = unet, cache, settings
        self.kept: Tensor = DDPMScheduler(**SCHEDULE).alphas_cumprod
        snr = self.kept / (1.0 - self.kept)
        self.weights: Tensor = torch.minimum(snr, torch.tensor(settings.snr_limit)) / snr

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the weighted error, and the plain error for the log."""
        cache, size = self.cache, batch.size
        chosen = np.sort(batch.numbers.integers(len(cache.rows), size=size))
        rows = cache.rows[chosen, batch.numbers.integers(cache.rows.shape[1], size=size)]
        rows = np.where(batch.numbers.random(size) < self.settings.empty_share, 0, rows)
        text = torch.from_numpy(cache.embeddings[rows]).float()
        mean = cache.mean[chosen]
        latents = mean + cache.deviation[chosen] * torch.randn_like(mean)
        noise = torch.randn_like(latents)
        # One time step from each of `size` equal strata: the loss varies less than with independent draws.
        strata = (batch.numbers.permutation(size) + batch.numbers.random(size)) / size
        steps = torch.from_numpy((strata * NOISE_STEPS).astype(np.int64)).clamp(max=NOISE_STEPS - 1)
        kept = self.kept[steps].view(-1, 1, 1, 1)
        noisy = kept.sqrt() * latents + (1.0 - kept).sqrt() * noise
        with mixed():
            predicted = self.unet(noisy, steps, text, return_dict=False)[0].float()
        error = (predicted - noise).square().mean((1, 2, 3))
        return (self.weights[steps] * error).mean(), {"error": error.mean().item()}


def main() -> None:
    """Train; `train.export` writes the model folder from the checkpoint."""
    arguments = parse("train the noise predictor")
    settings = arguments.config.unet
    start(arguments)
    processes = Processes.join()
    cache = Cache.load(arguments.out / "cache")
    unet = build(settings, cache.embeddings.shape[-1], cache.mean.shape[-1])
    warm(unet, arguments, "unet")
    objective = Objective(unet, cache, settings)
    part = Part("unet", unet, objective, gentle(settings, arguments, "unet"), decay=settings.ema)
    fit(part, arguments, processes, Grids(arguments.out, arguments.config))
    processes.leave()


if __name__ == "__main__":
    main()
