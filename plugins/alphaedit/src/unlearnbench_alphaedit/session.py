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
    from collections.abc import Mapping

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
    """What holds the update of one layer.

    Attributes:
        moment: K0 K0ᵀ of the unedited encoder, [d, d].
        space: its null space; None for the unprojected update.
        previous: C_prev, keys of concepts edited before, [d, d]; None if there are none.
    """

    moment: torch.Tensor
    space: NullSpace | None = None
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
        trace = Trace()
        for epoch in self.ctx.progress(range(self.params.edits), f"edit {concept}"):
            self._epoch((concept, epoch), material, trace)
        return trace

    def _epoch(self, scope: tuple[str, int], material: Material, trace: Trace) -> None:
        params, model = self.params, self.model
        batch = torch.randint(len(material.ids), (params.batch,), generator=self.ctx.generator("pairs", *scope))
        rows = batch.to(material.ids.device)
        ids, target = material.ids[rows], material.target[rows]
        groups = prefixes(ids).flatten()
        losses: list[list[float]] = []
        residuals: list[float] = []
        latents = None
        if params.values == "unet":
            latents = sample_latents(
                model,
                material.edit[rows],
                material.unconditional,
                steps=params.latent_steps,
                guidance=params.guidance,
                generator=self.ctx.generator("latents", *scope),
            )
        for number, layer in self.layers.items():
            with captured({number: layer}) as seen:
                states(model, ids)
            inputs, output = seen[number]
            values = material.values[number][rows]
            if latents is not None:
                generator = self.ctx.generator("noise", *scope, number)
                alphas = model.scheduler.alphas_cumprod
                noisy, timesteps = add_noise(latents, alphas, params.t_min, params.t_max, generator)
                wanted = predict(model, noisy, timesteps, target)

                edited = partial(self._predict, ids, noisy, timesteps)
                values, curve = without_denormals(
                    partial(
                        refine,
                        layer,
                        without_bias(layer, output),
                        edited,
                        wanted,
                        learning_rate=params.learning_rate,
                        steps=params.inner_steps,
                    )
                )
                losses.append(curve)
            keys = inputs.flatten(0, 1).T.double()
            residuals.append(write(layer, keys, values, groups, self.constraints[number], params.lamb))
            if self.remember_keys:
                trace.keys[number] = trace.keys.get(number, 0.0) + keys @ keys.T
            if latents is not None and number == max(self.layers):
                trace.aligned.append(float(torch.nn.functional.mse_loss(edited(), wanted)))
        trace.losses.append(losses)
        trace.residual.append(residuals)

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
    if constraint.space is None:
        delta = unprojected(residual, keys, constraint.moment)
    else:
        delta = projected(residual, keys, constraint.space.basis, lamb, constraint.previous)
    layer.weight.copy_(weight + delta)
    return float((residual - delta @ keys).norm() / residual.norm().clamp(min=1e-300))
