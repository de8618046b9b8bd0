"""Where the edited layers are: how prompts reach them, and what should come out of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from unlearnbench.editing.latents import predict
from unlearnbench.editing.layers import captured, prefixes, without_bias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unlearnbench.model import Model
    from unlearnbench_memit.params import Matrices


@dataclass(frozen=True)
class Material:
    """What the unedited encoder makes of pairs; row i belongs to pair i.

    Attributes:
        ids: [n, positions] token ids of the edit prompts.
        edit: [n, positions, width] text embedding of the edit prompts.
        target: the same of the target prompts.
        values: layer of the text encoder -> [n, positions, o] its output, without bias, for the target prompts.
    """

    ids: torch.Tensor
    edit: torch.Tensor
    target: torch.Tensor
    values: dict[str, torch.Tensor]

    def pick(self, rows: torch.Tensor) -> Material:
        """Return the material of some pairs."""
        values = {name: value[rows] for name, value in self.values.items()}
        return Material(self.ids[rows], self.edit[rows], self.target[rows], values)


@dataclass(frozen=True)
class Batch:
    """Some pairs of one concept, with noisy latents of their edit prompts where these are needed.

    Attributes:
        material: the pairs.
        latents: x_0, [n, channels, s, s]; None if nothing depends on them.
        noisy: x_t of the layer at hand.
        timesteps: t, [n].
    """

    material: Material
    latents: torch.Tensor | None = None
    noisy: torch.Tensor | None = None
    timesteps: torch.Tensor | None = None


@dataclass(frozen=True)
class Place:
    """The edited layers of one model, whose weights change meanwhile.

    Attributes:
        model: the model.
        matrices: which of its matrices they are.
        layers: the layers by module name.
        originals: their unedited weights by parameter name.
    """

    model: Model
    matrices: Matrices
    layers: Mapping[str, torch.nn.Linear]
    originals: Mapping[str, torch.Tensor]

    @property
    def unet_weights(self) -> Mapping[str, torch.Tensor]:
        """Return the parameters that make the UNet the unedited one."""
        return {} if self.matrices == "text" else self.originals

    def prepare(self, pairs: Sequence[tuple[str, str]]) -> Material:
        """Encode pairs with the current encoder."""
        edit = self.model.encode([prompt for prompt, _ in pairs])
        ids, _, _ = self.model.tokenize([target for _, target in pairs])
        with captured(self.layers) as seen:
            target = self.model.text_encoder(ids).last_hidden_state
        values = {name: without_bias(self.layers[name], output) for name, (_, output) in seen.items()}
        return Material(edit.ids, edit.states, target, values)

    def look(self, name: str, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input and output, without bias, of a layer for the edit prompts, with the weights of now."""
        layer = self.layers[name]
        if self.matrices == "kv":
            inputs = batch.material.edit
            return inputs, inputs @ layer.weight.T
        with captured({name: layer}) as seen:
            if self.matrices == "text":
                self.model.text_encoder(batch.material.ids)
            else:
                self.predict(batch)
        inputs, output = seen[name]
        return inputs, without_bias(layer, output)

    def predict(self, batch: Batch) -> torch.Tensor:
        """Return the noise prediction for the edit prompts, with the weights of now."""
        assert batch.noisy is not None
        assert batch.timesteps is not None
        text = batch.material.edit
        if self.matrices == "text":
            text = self.model.text_encoder(batch.material.ids).last_hidden_state
        return predict(self.model, batch.noisy, batch.timesteps, text)

    def wanted(self, name: str, batch: Batch) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Return what the unedited model makes of the target prompts: its noise prediction, and the layer's output."""
        layer, material = self.layers[name], batch.material
        prediction = None
        with captured({name: layer} if self.matrices == "ffn" else {}) as seen:
            if batch.noisy is not None and batch.timesteps is not None:
                prediction = predict(self.model, batch.noisy, batch.timesteps, material.target, self.unet_weights)
        if self.matrices == "text":
            return prediction, material.values[name]
        if self.matrices == "kv":
            return prediction, material.target @ self.originals[f"{name}.weight"].T
        return prediction, without_bias(layer, seen[name][1])

    def groups(self, batches: Sequence[Batch]) -> torch.Tensor | None:
        """Return the number of every column of K1, equal numbers for equal columns; None if all differ."""
        if self.matrices == "ffn":
            return None
        return prefixes(torch.cat([batch.material.ids for batch in batches])).flatten()
