"""The UNet in training, every parameter of it, in single precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.func import functional_call

if TYPE_CHECKING:
    from unlearnbench.model import Model


class Student:
    """ε_θ.

    A UNet in single precision is trained in its place. One in half precision is trained on copies, since an optimiser's
    step of 1e-5 is rounded away there wherever a weight is above 0.005.

    Attributes:
        masters: parameters by name, sorted; the only tensors that ask for a gradient.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._parameters = dict(sorted(model.unet.named_parameters()))
        self.masters = {
            name: parameter.detach().to(torch.float32).requires_grad_(True)
            for name, parameter in self._parameters.items()
        }

    def __call__(self, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return the UNet's prediction for [n, channels, s, s] latents, [n] timesteps, [n, positions, width] text."""
        values = {name: master.to(self._parameters[name].dtype) for name, master in self.masters.items()}
        inputs = (latents.to(text.dtype), timesteps.to(latents.device), text)
        output: torch.Tensor = functional_call(self._model.unet, values, inputs, {"return_dict": False})[0]
        return output

    @torch.no_grad()
    def write(self) -> None:
        """Give the UNet the trained values, in its dtype."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self.masters[name])
