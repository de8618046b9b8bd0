"""Where the edited layers are, text encoder or UNet: how prompts reach them, and what should come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from unlearnbench.editing.latents import predict
from unlearnbench.editing.layers import captured, prefixes, without_bias
from unlearnbench_alphaedit.encoder import Name, states

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from unlearnbench.model import Model


@dataclass(frozen=True)
class Material:
    """What the unedited encoder makes of pairs; row i belongs to pair i.

    Attributes:
        ids: [n, positions] token ids of the edit prompts.
        edit: [n, positions, width] text embedding of the edit prompts.
        target: the same of the target prompts.
        values: layer of the text encoder -> [n, positions, o] its output, without bias, for the target prompts.
        unconditional: [1, positions, width] text embedding of the empty prompt.
    """

    ids: torch.Tensor
    edit: torch.Tensor
    target: torch.Tensor
    values: dict[Name, torch.Tensor]
    unconditional: torch.Tensor

    def pick(self, rows: torch.Tensor) -> Material:
        """Return the material of some pairs, repeated ones included."""
        values = {name: value[rows] for name, value in self.values.items()}
        return Material(self.ids[rows], self.edit[rows], self.target[rows], values, self.unconditional)


@dataclass(frozen=True)
class Noisy:
    """Noisy latents of the edit prompts.

    Attributes:
        latents: x_t, [n, channels, s, s].
        timesteps: t, [n].
    """

    latents: torch.Tensor
    timesteps: torch.Tensor


class Place(Protocol):
    """One of the two places; `noisy` may be None in the text encoder alone."""

    @property
    def weights(self) -> Mapping[str, torch.Tensor] | None:
        """Return the original UNet weights of the edited layers, by parameter name; None if they are elsewhere."""
        ...

    def wanted(self, name: Name, batch: Material, noisy: Noisy | None) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Return what the unedited model makes of the target prompts: its noise prediction, and the layer's output."""
        ...

    def reach(self, batch: Material, noisy: Noisy | None) -> None:
        """Run the model, as edited so far, on the edit prompts at least as far as its edited layers."""
        ...

    def predict(self, batch: Material, noisy: Noisy) -> torch.Tensor:
        """Return the noise prediction of the model, as edited so far, for the edit prompts."""
        ...

    def groups(self, batch: Material) -> torch.Tensor | None:
        """Return the number of every column of K1, equal numbers for equal columns; None if all differ."""
        ...


@dataclass(frozen=True)
class InTextEncoder:
    """The edited layers are in the text encoder; the UNet stays as it is."""

    model: Model
    weights: None = None

    def wanted(self, name: Name, batch: Material, noisy: Noisy | None) -> tuple[torch.Tensor | None, torch.Tensor]:
        """See `Place`; both are made from the unedited encoder's outputs, which the batch holds."""
        prediction = None if noisy is None else predict(self.model, noisy.latents, noisy.timesteps, batch.target)
        return prediction, batch.values[name]

    def reach(self, batch: Material, noisy: Noisy | None) -> None:
        """See `Place`; runs the encoder alone."""
        states(self.model, batch.ids)

    def predict(self, batch: Material, noisy: Noisy) -> torch.Tensor:
        """See `Place`."""
        return predict(self.model, noisy.latents, noisy.timesteps, states(self.model, batch.ids))

    def groups(self, batch: Material) -> torch.Tensor:
        """See `Place`; the encoder is causal, so equal beginnings have equal columns."""
        return prefixes(batch.ids).flatten()


@dataclass(frozen=True)
class InUNet:
    """The edited layers are in the UNet; the text encoder stays as it is.

    Attributes:
        model: the model.
        layers: the edited layers by module name.
        weights: their original weights by parameter name.
    """

    model: Model
    layers: Mapping[Name, torch.nn.Linear]
    weights: Mapping[str, torch.Tensor]

    def wanted(self, name: Name, batch: Material, noisy: Noisy | None) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Place`; one pass through the UNet with its original weights."""
        assert noisy is not None, "what goes into a layer of the UNet depends on the latents"
        layer = self.layers[name]
        with captured({name: layer}) as seen:
            prediction = predict(self.model, noisy.latents, noisy.timesteps, batch.target, self.weights)
        return prediction, without_bias(layer, seen[name][1])

    def reach(self, batch: Material, noisy: Noisy | None) -> None:
        """See `Place`."""
        assert noisy is not None, "what goes into a layer of the UNet depends on the latents"
        self.predict(batch, noisy)

    def predict(self, batch: Material, noisy: Noisy) -> torch.Tensor:
        """See `Place`."""
        return predict(self.model, noisy.latents, noisy.timesteps, batch.edit)

    def groups(self, batch: Material) -> None:
        """See `Place`; every position of the latents has a column of its own."""
        return


def prepare(model: Model, layers: Mapping[Name, torch.nn.Linear], pairs: Sequence[tuple[str, str]]) -> Material:
    """Encode pairs with the current encoder; `layers` are those of the text encoder whose outputs are kept."""
    edit = model.encode([prompt for prompt, _ in pairs])
    with captured(layers) as seen:
        target = states(model, model.tokenize([target for _, target in pairs])[0])
    return Material(
        ids=edit.ids,
        edit=edit.states,
        target=target,
        values={name: without_bias(layers[name], output) for name, (_, output) in seen.items()},
        unconditional=model.encode([""]).states,
    )
