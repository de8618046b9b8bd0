"""The edits of one concept: draw a batch, then refine V1, solve and write, layer by layer from the lowest."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch

from unlearnbench.editing.latents import add_noise, sample_latents
from unlearnbench.editing.layers import captured, without_bias
from unlearnbench.editing.refine import refine
from unlearnbench.editing.subnormal import without_subnormals
from unlearnbench_alphaedit.places import Noisy
from unlearnbench_alphaedit.solve import collapse, projected, unprojected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unlearnbench.api import EditContext
    from unlearnbench.model import Model
    from unlearnbench_alphaedit.encoder import Name
    from unlearnbench_alphaedit.nullspace import NullSpace
    from unlearnbench_alphaedit.params import AlphaEditParams
    from unlearnbench_alphaedit.places import Material, Place


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
        aligned: last layer alone: the same loss with the weights that were written, one number an epoch; empty if the
            values need no latents.
        residual: ‖V1 − W_new K1‖ / ‖V1 − W K1‖: how much of the wanted change projection and λ leave undone.
        keys: layer -> Σ K1 K1ᵀ of all epochs; empty unless the session remembers keys.
    """

    losses: list[list[list[float]]] = field(default_factory=list)
    aligned: list[float] = field(default_factory=list)
    residual: list[list[float]] = field(default_factory=list)
    keys: dict[Name, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """The edits of one model, whose weights must not ask for gradients; `remember_keys` for concepts to come."""

    params: AlphaEditParams
    model: Model
    place: Place
    layers: Mapping[Name, torch.nn.Linear]
    constraints: Mapping[Name, Constraint]
    ctx: EditContext
    remember_keys: bool = False

    def erase(self, concept: str, material: Material) -> Trace:
        """Edit every layer `params.edits` times."""
        params, trace = self.params, Trace()
        needed = params.values == "unet" or params.matrices == "ffn"
        kept: torch.Tensor | None = None
        if needed and params.latents == "reused":
            kept = self._latents(material, torch.arange(len(material.ids)), (concept, "reused"))
        for epoch in self.ctx.progress(range(params.edits), f"edit {concept}"):
            generator = self.ctx.generator("pairs", concept, epoch)
            rows = torch.randint(len(material.ids), (params.batch,), generator=generator)
            latents = None if kept is None else kept[rows]
            if needed and latents is None:
                latents = self._latents(material, rows, (concept, epoch))
            self._epoch(material.pick(rows.to(material.ids.device)), latents, (concept, epoch), trace)
        return trace

    def _latents(self, material: Material, rows: torch.Tensor, scope: tuple[str, str | int]) -> torch.Tensor:
        """Make latents of the edit prompts of `rows` with the unedited model, as many at once as one batch has."""
        generator = self.ctx.generator("latents", *scope)
        parts = [
            sample_latents(
                self.model,
                material.edit[part],
                material.unconditional,
                steps=self.params.latent_steps,
                guidance=self.params.guidance,
                generator=generator,
                weights=self.place.weights,
            )
            for part in torch.split(rows, self.params.batch)
        ]
        return torch.cat(parts)

    def _epoch(self, batch: Material, latents: torch.Tensor | None, scope: tuple[str, int], trace: Trace) -> None:
        """Edit every layer once; `latents` of the edit prompts of the batch, or None if no value needs them."""
        params, groups = self.params, self.place.groups(batch)
        trace.losses.append([])
        trace.residual.append([])
        for name, layer in self.layers.items():
            noisy = None
            if latents is not None:
                noise, alphas = self.ctx.generator("noise", *scope, name), self.model.scheduler.alphas_cumprod
                noisy = Noisy(*add_noise(latents, alphas, params.t_min, params.t_max, noise))
            with captured({name: layer}) as seen:
                self.place.reach(batch, noisy)
            inputs, output = seen[name]
            target, values = self.place.wanted(name, batch, noisy)
            if params.values == "unet" and noisy is not None and target is not None:
                edited, start = partial(self.place.predict, batch, noisy), without_bias(layer, output)
                rate, steps = params.learning_rate, params.inner_steps
                with without_subnormals() as worker:
                    values, losses = worker.run(
                        partial(refine, layer, start, edited, target, learning_rate=rate, steps=steps)
                    )
                trace.losses[-1].append(losses)
            keys = inputs.flatten(0, -2).T.double()
            left = write(layer, keys, values, groups, self.constraints[name], params.lamb)
            trace.residual[-1].append(left)
            if self.remember_keys:
                trace.keys[name] = trace.keys.get(name, 0.0) + keys @ keys.T
            if noisy is not None and target is not None and name == list(self.layers)[-1]:
                now = self.place.predict(batch, noisy)
                trace.aligned.append(float(torch.nn.functional.mse_loss(now, target)))


def write(
    layer: torch.nn.Linear,
    keys: torch.Tensor,
    values: torch.Tensor,
    groups: torch.Tensor | None,
    constraint: Constraint,
    lamb: float,
) -> float:
    """Solve for Δ and add it to the weight of one layer.

    Args:
        layer: W is its weight, [o, d].
        keys: K1, [d, n] float64.
        values: V1, [..., o], n rows in all, without bias.
        groups: [n] number of every column; columns of one number have equal keys. None: all differ.
        constraint: null space, or K0 K0ᵀ.
        lamb: λ.

    Returns:
        ‖V1 − W_new K1‖ / ‖V1 − W K1‖ over the distinct keys, 0 if V1 = W K1 already.
    """
    weight = layer.weight.double()
    residual = values.reshape(-1, values.shape[-1]).T.double() - weight @ keys
    if groups is not None:
        keys, residual = collapse(keys, residual, groups)
    if isinstance(constraint.held, torch.Tensor):
        delta = unprojected(residual, keys, constraint.held)
    else:
        delta = projected(residual, keys, constraint.held.basis, lamb, constraint.previous)
    layer.weight.copy_(weight + delta)
    return float((residual - delta @ keys).norm() / residual.norm().clamp(min=1e-300))
