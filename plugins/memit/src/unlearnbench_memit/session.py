"""The edits of a model: all concepts enter each solve; layer by layer, in the order in which the model runs them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from unlearnbench.editing.latents import add_noise, sample_latents
from unlearnbench.editing.layers import captured
from unlearnbench.editing.refine import refine
from unlearnbench.editing.subnormal import without_subnormals
from unlearnbench_memit.places import Batch
from unlearnbench_memit.solve import collapse, right_factor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unlearnbench.api import EditContext
    from unlearnbench.model import Model
    from unlearnbench_memit.params import MEMITParams, Values
    from unlearnbench_memit.places import Material, Place
    from unlearnbench_memit.solve import Held


@dataclass
class Trace:
    """How the edits went; lists of edits, of layers within.

    Attributes:
        losses: concept -> loss before every Adam step; with `spread`, of the last layer alone.
        residual: ‖V1 − W_new K1‖ / ‖V1 − W K1‖: how much of the wanted change the retain inputs leave undone.
    """

    losses: dict[str, list[list[list[float]]]] = field(default_factory=dict)
    residual: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Session:
    """The edits of one model, whose weights must not ask for gradients.

    Attributes:
        params: the parameters.
        edits: edits of every layer.
        values: where V1 comes from.
        model: the model.
        place: its edited layers.
        held: C0 of every layer.
        ctx: the harness.
    """

    params: MEMITParams
    edits: int
    values: Values
    model: Model
    place: Place
    held: Mapping[str, Held]
    ctx: EditContext

    def run(self, materials: Mapping[str, Material]) -> Trace:
        """Edit every layer `edits` times, for all concepts at once."""
        trace = Trace(losses={concept: [] for concept in materials} if self.values == "unet" else {})
        unconditional = self.model.encode([""]).states
        for number in self.ctx.progress(range(self.edits), "edits"):
            batches = {c: self._draw(c, material, number, unconditional) for c, material in materials.items()}
            trace.residual.append([])
            for losses in trace.losses.values():
                losses.append([])
            if self.params.spread:
                self._spread(batches, number, trace)
            else:
                self._each(batches, number, trace)
        return trace

    def _draw(self, concept: str, material: Material, number: int, unconditional: torch.Tensor) -> Batch:
        """Draw pairs of one concept, and make latents of their edit prompts with the unedited model, where needed."""
        if self.values == "naive" and self.params.matrices != "ffn":
            return Batch(material)
        count = len(material.ids)
        rows = torch.randperm(count, generator=self.ctx.generator("pairs", concept, number))[: self.params.batch]
        drawn = material.pick(rows.to(material.ids.device))
        latents = sample_latents(
            self.model,
            drawn.edit,
            unconditional,
            steps=self.params.latent_steps,
            guidance=self.params.guidance,
            generator=self.ctx.generator("latents", concept, number),
            weights=self.place.unet_weights,
        )
        return Batch(drawn, latents)

    def _noisy(self, batch: Batch, *scope: str | int) -> Batch:
        """Return the batch with a timestep and a noise for each of its latents."""
        if batch.latents is None:
            return batch
        generator, params = self.ctx.generator("noise", *scope), self.params
        alphas = self.model.scheduler.alphas_cumprod
        noisy, timesteps = add_noise(batch.latents, alphas, params.t_min, params.t_max, generator)
        return replace(batch, noisy=noisy, timesteps=timesteps)

    def _goal(
        self, name: str, concept: str, batch: Batch, trace: Trace
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return K1, V1 and W K1 of one layer and concept, [n, positions, ...]."""
        params, layer = self.params, self.place.layers[name]
        inputs, output = self.place.look(name, batch)
        target, values = self.place.wanted(name, batch)
        if self.values == "unet" and target is not None:
            refined = partial(
                refine,
                layer,
                output,
                partial(self.place.predict, batch),
                target,
                learning_rate=params.learning_rate,
                steps=params.inner_steps,
                clamp=params.clamp_norm_factor,
            )
            with without_subnormals() as worker:
                values, losses = worker.run(refined)
            trace.losses[concept][-1].append(losses)
        return inputs, values, output

    def _each(self, batches: Mapping[str, Batch], number: int, trace: Trace) -> None:
        """Give every layer values of its own (report)."""
        groups = self.place.groups(list(batches.values()))
        shared: torch.Tensor | None = None
        for name, layer in self.place.layers.items():
            found = [
                self._goal(name, concept, self._noisy(batch, concept, number, name), trace)
                for concept, batch in batches.items()
            ]
            keys, residual = columns([k for k, _, _ in found]), columns([v - w for _, v, w in found])
            if groups is not None:
                keys, residual = collapse(keys, residual, groups)
            if shared is None or self.params.matrices != "kv":  # keys and values of all blocks read the same text
                shared = right_factor(keys, self.held[name])
            trace.residual[-1].append(write(layer, residual, keys, shared))

    def _spread(self, batches: Mapping[str, Batch], number: int, trace: Trace) -> None:
        """Give the last layer's block its output in equal shares, one from each layer up to it (MEMIT)."""
        names = list(self.place.layers)
        block = names[-1].rpartition(".mlp.")[0]
        root = getattr(self.model.text_encoder, "text_model", self.model.text_encoder)
        last = {block: root.get_submodule(block)}
        groups = self.place.groups(list(batches.values()))
        wanted: dict[str, torch.Tensor] = {}
        for concept, batch in batches.items():
            _, values, output = self._goal(names[-1], concept, self._noisy(batch, concept, number), trace)
            wanted[concept] = self._hidden(last, batch)[block][1] + (values - output)
        for done, name in enumerate(names):
            layer = self.place.layers[name]
            seen = {c: self._hidden(last | {name: layer}, batch) for c, batch in batches.items()}
            keys = columns([seen[c][name][0] for c in batches])
            residual = columns([wanted[c] - seen[c][block][1] for c in batches]) / (len(names) - done)
            if groups is not None:
                keys, residual = collapse(keys, residual, groups)
            trace.residual[-1].append(write(layer, residual, keys, right_factor(keys, self.held[name])))

    def _hidden(
        self, modules: Mapping[str, torch.nn.Module], batch: Batch
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return inputs and outputs of modules of the text encoder for the edit prompts, with the weights of now."""
        with captured(modules) as seen:
            self.model.text_encoder(batch.material.ids)
        return seen


def columns(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return vectors, the last dimension of each part, as the columns of one float64 matrix."""
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts]).T.double()


def write(layer: torch.nn.Linear, residual: torch.Tensor, keys: torch.Tensor, right: torch.Tensor) -> float:
    """Add Δ = R right to the weight of one layer, W_new = W + Δ.

    Args:
        layer: W is its weight, [o, d].
        residual: R = V1 − W K1, [o, n] float64.
        keys: K1, [d, n].
        right: K1ᵀ (C0 + K1 K1ᵀ)⁻¹, [n, d].

    Returns:
        ‖V1 − W_new K1‖ / ‖V1 − W K1‖, 0 if V1 = W K1 already.
    """
    delta = residual @ right
    layer.weight.copy_(layer.weight.double() + delta)
    return float((residual - delta @ keys).norm() / residual.norm().clamp(min=1e-300))
