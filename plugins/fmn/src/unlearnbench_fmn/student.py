"""The model in training: single-precision copies of what is trained in the place of the UNet's own parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from unlearnbench.editing.latents import predict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unlearnbench.model import Model


class Student:
    """ε_θ. What is in single precision already is trained where it is, which saves a copy of the UNet.

    Otherwise the copies are float32 and the UNet keeps its parameters until `write`: at a learning rate of 2e-6 an
    optimiser's step on weights in bfloat16 is rounded away wherever a weight is above 0.001.

    Attributes:
        masters: name -> what is trained, float32; the only tensors that ask for a gradient.
    """

    def __init__(self, model: Model, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        self._model = model
        self._parameters = parameters
        self.masters = {name: p.detach().to(torch.float32).requires_grad_(True) for name, p in parameters.items()}

    def predict(self, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return the prediction for latents [n, channels, s, s], timesteps [n] and text [n, positions, width]."""
        values = {name: master.to(self._parameters[name].dtype) for name, master in self.masters.items()}
        return predict(self._model, latents.to(text.dtype), timesteps, text, values)

    @torch.no_grad()
    def write(self) -> None:
        """Give the UNet the trained values, in its dtype."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self.masters[name])
