"""The UNet from inside: its feed-forward layers, and what goes into them for the retain prompts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from unlearnbench.editing.latents import add_noise, predict, sample_latents
from unlearnbench.editing.layers import captured
from unlearnbench_alphaedit.nullspace import Moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unlearnbench.api import EditContext
    from unlearnbench.model import Model
    from unlearnbench_alphaedit.encoder import Name
    from unlearnbench_alphaedit.params import AlphaEditParams

# transformer blocks are where the UNet has cross-attention
FFN = re.compile(r"\.transformer_blocks\.\d+\.ff\.net\.2$")


def ffn_layers(unet: torch.nn.Module) -> dict[Name, torch.nn.Linear]:
    """Return the second feed-forward matrix of every transformer block by name, sorted: down, middle, up."""
    found = {
        name: module
        for name, module in unet.named_modules()
        if FFN.search(name) and isinstance(module, torch.nn.Linear)
    }
    return dict(sorted(found.items()))


@torch.no_grad()
def ffn_moments(
    model: Model,
    layers: Mapping[Name, torch.nn.Linear],
    prompts: Sequence[str],
    params: AlphaEditParams,
    ctx: EditContext,
) -> dict[Name, Moment]:
    """Add up K0 K0ᵀ of every layer over all positions of noisy latents of the retain prompts, with the current weights.

    What goes into these layers depends on x_t and t. At most `params.retain_latents` prompts are drawn, without
    replacement; each gets latents as the edit prompts do, one timestep and one noise.
    """
    sums = {name: Moment(layer.in_features, layer.weight.device) for name, layer in layers.items()}
    if not prompts:
        return sums
    draw = ctx.generator("retain")
    rows = torch.randperm(len(prompts), generator=draw)[: params.retain_latents].tolist()
    empty = model.encode([""]).states
    batches = [rows[start : start + params.batch] for start in range(0, len(rows), params.batch)]
    for batch in ctx.progress(batches, "retain prompts"):
        text = model.encode([prompts[row] for row in batch]).states
        steps, guidance = params.latent_steps, params.guidance
        latents = sample_latents(model, text, empty, steps=steps, guidance=guidance, generator=draw)
        noisy, timesteps = add_noise(latents, model.scheduler.alphas_cumprod, params.t_min, params.t_max, draw)
        with captured(layers) as seen:
            predict(model, noisy, timesteps, text)
        for name, (inputs, _) in seen.items():
            columns = inputs.flatten(0, -2).T
            sums[name].add(columns, columns.new_ones(columns.shape[1]))
    return sums
