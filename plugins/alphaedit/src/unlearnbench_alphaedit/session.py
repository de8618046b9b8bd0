"""The edits of one concept: draw a batch, then refine V1, solve and write, layer by layer from the lowest."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch

from unlearnbench_alphaedit.encoder import captured, prefixes, states, without_bias
from unlearnbench_alphaedit.latents import add_noise, predict, sample_latents
from unlearnbench_alphaedit.refine import refine, without_denormals
from unlearnbench_alphaedit.solve import collapse, projected, unprojected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from unlearnbench.api import EditContext
    from unlearnbench.model import Model
    from unlearnbench_alphaedit.nullspace import NullSpace
    from unlearnbench_alphaedit.params import AlphaEditParams


@dataclass(frozen=True)
class Material:
    """What the unedited encoder makes of one concept's pairs; row i belongs to pair i.

    Attributes:
        ids: [n, positions] token ids of the edit prompts.
        edit: [n, positions, width] text embedding of the edit prompts.
        target: the same of the target prompts.
        values: layer -> [n, positions, o] output of fc2, without bias, for the target prompts.
        unconditional: [1, positions, width] text embedding of the empty prompt.
    """

    ids: torch.Tensor
    edit: torch.Tensor
    target: torch.Tensor
    values: dict[int, torch.Tensor]
    unconditional: torch.Tensor


@dataclass
class Constraint:
    """What holds the update of one layer: the null space of K0, or K0 K0ᵀ itself for the unprojected update.

    Attributes:
        held: null space, or [d, d] moment, of the retain inputs of the unedited encoder.
        previous: C_prev, keys of concepts edited before, [d, d]; None if there are none.
    """

    held: NullSpace | torch.Tensor
    previous: torch.Tensor | None = None


@dataclass
class Trace:
    """How the edits of one concept went; lists of epochs, of layers within.

    Attributes:
        losses: loss before every Adam step.
        aligned: last layer alone: the same loss with the weights that were written, one number an epoch.
        residual: ‖V1 − W_new K1‖ / ‖V1 − W K1‖: how much of the wanted change projection and λ leave undone.
        keys: layer -> Σ K1 K1ᵀ of all epochs; empty unless the session remembers keys.
    """

    losses: list[list[list[float]]] = field(default_factory=list)
    aligned: list[float] = field(default_factory=list)
    residual: list[list[float]] = field(default_factory=list)
    keys: dict[int, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """The edits of one model, whose weights must not ask for gradients; `remember_keys` for concepts to come."""

    params: AlphaEditParams
    model: Model
    layers: Mapping[int, torch.nn.Linear]
    constraints: Mapping[int, Constraint]
    ctx: EditContext
    remember_keys: bool = False

    def erase(self, concept: str, material: Material) -> Trace:
        """Edit every layer `params.edits` times."""
        params, trace = self.params, Trace()
        kept: torch.Tensor | None = None
        if params.values == "unet" and params.latents == "reused":
            kept = self._latents(material, torch.arange(len(material.ids)), (concept, "reused"))
        for epoch in self.ctx.progress(range(params.edits), f"edit {concept}"):
            generator = self.ctx.generator("pairs", concept, epoch)
            rows = torch.randint(len(material.ids), (params.batch,), generator=generator)
            latents = None if kept is None else kept[rows]
            if params.values == "unet" and latents is None:
                latents = self._latents(material, rows, (concept, epoch))
            self._epoch(material, rows.to(material.ids.device), latents, (concept, epoch), trace)
        return trace

    def _latents(self, material: Material, rows: torch.Tensor, scope: tuple[str, str | int]) -> torch.Tensor:
        """Make latents of the edit prompts of `rows`, as many at once as one batch has."""
        generator = self.ctx.generator("latents", *scope)
        parts = [
            sample_latents(
                self.model,
                material.edit[part],
                material.unconditional,
                steps=self.params.latent_steps,
                guidance=self.params.guidance,
                generator=generator,
            )
            for part in torch.split(rows, self.params.batch)
        ]
        return torch.cat(parts)

    def _epoch(
        self,
        material: Material,
        rows: torch.Tensor,
        latents: torch.Tensor | None,
        scope: tuple[str, int],
        trace: Trace,
    ) -> None:
        """Edit every layer once; `latents` of the edit prompts of `rows`, or None for naive values."""
        ids = material.ids[rows]
        groups = prefixes(ids).flatten()
        trace.losses.append([])
        trace.residual.append([])
        for number, layer in self.layers.items():
            with captured({number: layer}) as seen:
                states(self.model, ids)
            inputs, output = seen[number]
            values = material.values[number][rows]
            edited = None
            if latents is not None:
                noise = self.ctx.generator("noise", *scope, number)
                alphas = self.model.scheduler.alphas_cumprod
                noisy, timesteps = add_noise(latents, alphas, self.params.t_min, self.params.t_max, noise)
                wanted = predict(self.model, noisy, timesteps, material.target[rows])
                edited = partial(self._predict, ids, noisy, timesteps)
                values, losses = self._refined(layer, without_bias(layer, output), edited, wanted)
                trace.losses[-1].append(losses)
            keys = inputs.flatten(0, 1).T.double()
            left = write(layer, keys, values, groups, self.constraints[number], self.params.lamb)
            trace.residual[-1].append(left)
            if self.remember_keys:
                trace.keys[number] = trace.keys.get(number, 0.0) + keys @ keys.T
            if edited is not None and number == max(self.layers):
                trace.aligned.append(float(torch.nn.functional.mse_loss(edited(), wanted)))

    def _refined(
        self, layer: torch.nn.Linear, start: torch.Tensor, edited: Callable[[], torch.Tensor], wanted: torch.Tensor
    ) -> tuple[torch.Tensor, list[float]]:
        rate, steps = self.params.learning_rate, self.params.inner_steps
        return without_denormals(partial(refine, layer, start, edited, wanted, learning_rate=rate, steps=steps))

    def _predict(self, ids: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        return predict(self.model, noisy, timesteps, states(self.model, ids))


def write(
    layer: torch.nn.Linear,
    keys: torch.Tensor,
    values: torch.Tensor,
    groups: torch.Tensor,
    constraint: Constraint,
    lamb: float,
) -> float:
    """Solve for Δ and add it to the weight of one layer.

    Args:
        layer: W is its weight, [o, d].
        keys: K1, [d, n] float64.
        values: V1, [..., o], n rows in all, without bias.
        groups: [n] number of every column; columns of one number have equal keys.
        constraint: null space, or K0 K0ᵀ.
        lamb: λ.

    Returns:
        ‖V1 − W_new K1‖ / ‖V1 − W K1‖ over the distinct keys, 0 if V1 = W K1 already.
    """
    weight = layer.weight.double()
    residual = values.reshape(-1, values.shape[-1]).T.double() - weight @ keys
    keys, residual = collapse(keys, residual, groups)
    if isinstance(constraint.held, torch.Tensor):
        delta = unprojected(residual, keys, constraint.held)
    else:
        delta = projected(residual, keys, constraint.held.basis, lamb, constraint.previous)
    layer.weight.copy_(weight + delta)
    return float((residual - delta @ keys).norm() / residual.norm().clamp(min=1e-300))
