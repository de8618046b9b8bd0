"""The model in training: the UNet with single-precision copies of what is trained in place of its own parameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.func import functional_call

if TYPE_CHECKING:
    from collections.abc import Mapping


class Student:
    """ε_θ beside ε_θ*: the UNet itself keeps its parameters, and so stays the frozen teacher, until `write`.

    The copies are float32 whatever the dtype of the UNet: at a learning rate of 1e-5 an optimiser's step on weights in
    bfloat16 is rounded away wherever a weight is above 0.005.

    Attributes:
        masters: name -> trained copy, float32; the only tensors that ask for a gradient.
    """

    def __init__(self, unet: torch.nn.Module, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        self._unet = unet
        self._parameters = parameters
        self.masters = {
            name: parameter.detach().to(torch.float32, copy=True).requires_grad_(True)
            for name, parameter in parameters.items()
        }

    def __call__(self, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return the prediction; arguments as in `Teacher`."""
        values = {name: master.to(self._parameters[name].dtype) for name, master in self.masters.items()}
        output: torch.Tensor = functional_call(self._unet, values, (latents, timesteps, text), {"return_dict": False})[
            0
        ]
        return output

    @torch.no_grad()
    def change(self) -> float:
        """Return ‖θ − θ*‖ / ‖θ*‖ over all trained parameters together."""
        moved, size = 0.0, 0.0
        for name, parameter in self._parameters.items():
            old = parameter.float()
            moved += float((self.masters[name] - old).square().sum(dtype=torch.float64))
            size += float(old.square().sum(dtype=torch.float64))
        return math.sqrt(moved / size)

    @torch.no_grad()
    def write(self) -> None:
        """Give the UNet the trained values, in its dtype."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self.masters[name])


class Teacher:
    """ε_θ*: the UNet as it is, without gradient."""

    def __init__(self, unet: torch.nn.Module) -> None:
        self._unet = unet

    @torch.no_grad()
    def __call__(self, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return the prediction.

        Args:
            latents: [n, channels, s, s].
            timesteps: [n].
            text: [n, positions, width].
        """
        output: torch.Tensor = self._unet(latents, timesteps, text, return_dict=False)[0]
        return output
