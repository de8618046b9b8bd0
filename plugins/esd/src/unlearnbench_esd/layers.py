"""Which parameters of the UNet a train method changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from unlearnbench_esd.params import TrainMethod


def belongs(name: str, method: TrainMethod) -> bool:
    """Return whether the linear or convolution layer `name` is trained by `method`."""
    match method:
        case "esd-x":
            return ".attn2." in name
        case "esd-x-strict":
            return name.endswith((".attn2.to_k", ".attn2.to_v"))
        case "esd-u":
            return ".attn2." not in name
        case "selfattn":
            return ".attn1." in name
        case "esd-all":
            return True


def trained(unet: torch.nn.Module, method: TrainMethod) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that `method` trains, by name and sorted by name.

    Only linear and convolution layers count; norms are never trained.
    """
    chosen = {
        f"{name}.{own}": parameter
        for name, module in unet.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and belongs(name, method)
        for own, parameter in module.named_parameters(recurse=False)
    }
    return dict(sorted(chosen.items()))
