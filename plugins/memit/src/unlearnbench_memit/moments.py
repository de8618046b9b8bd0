"""C0: the second moment of what goes into the layers for the retain prompts, from the unedited model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from unlearnbench.editing.latents import add_noise, predict, sample_latents
from unlearnbench.editing.layers import captured, prefixes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unlearnbench.api import EditContext
    from unlearnbench.model import Model
    from unlearnbench_memit.params import MEMITParams

BATCH = 32
MEAN_SCALE = 15_000.0  # mom2_update_weight of the authors' code for GPT-J


class Moment:
    """K0 K0ᵀ, added up in double precision without keeping K0.

    Attributes:
        gram: [d, d] float64.
        columns: number of columns of K0.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self.gram = torch.zeros(width, width, dtype=torch.float64, device=device)
        self.columns = 0

    def add(self, inputs: torch.Tensor, groups: torch.Tensor | None = None) -> None:
        """Add inputs of a layer, [..., d]; those of equal group, [...], are equal and multiplied once."""
        K0 = inputs.flatten(0, -2).T.double()
        self.columns += K0.shape[1]
        if groups is not None:
            _, number, counts = torch.unique(groups, return_inverse=True, return_counts=True)
            first = torch.empty_like(counts).scatter_(0, number.flatten(), torch.arange(len(K0.T), device=K0.device))
            K0 = K0[:, first] * counts.to(K0.dtype).sqrt()
        self.gram.addmm_(K0, K0.T)


@torch.no_grad()
def collect(
    model: Model,
    layers: Mapping[str, torch.nn.Linear],
    prompts: Sequence[str],
    params: MEMITParams,
    ctx: EditContext,
) -> dict[str, Moment]:
    """Return the moment of every layer over all positions of the retain prompts.

    Keys and values read one and the same text embedding: their layers share one `Moment`. What goes into feed-forward
    layers of the UNet depends on x_t and t: of at most `params.retain_latents` prompts, drawn without replacement, each
    gets latents, one timestep and one noise as the edit prompts do.
    """
    first = next(iter(layers.values()))
    if params.matrices == "kv":
        shared = Moment(first.in_features, first.weight.device)
        for start in range(0, len(prompts), BATCH):
            embedding = model.encode(prompts[start : start + BATCH])
            shared.add(embedding.states, prefixes(embedding.ids))
        return dict.fromkeys(layers, shared)
    sums = {name: Moment(layer.in_features, layer.weight.device) for name, layer in layers.items()}
    if params.matrices == "text":
        for start in range(0, len(prompts), BATCH):
            with captured(layers) as seen:
                ids = model.encode(prompts[start : start + BATCH]).ids
            groups = prefixes(ids)
            for name, (inputs, _) in seen.items():
                sums[name].add(inputs, groups)
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
            sums[name].add(inputs)
    return sums


def weighted(moment: Moment, params: MEMITParams) -> torch.Tensor:
    """Return C0 = μ K0 K0ᵀ, or μ E[k kᵀ] for the mean, plus λ I."""
    mean = params.moment == "mean"
    scale = params.preserve_scale or (MEAN_SCALE if mean else 1.0)
    C0 = moment.gram * (scale / max(moment.columns, 1) if mean else scale)
    C0.diagonal().add_(params.lamb)
    return C0
