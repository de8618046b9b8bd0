"""Which parameters of the UNet a train method changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from unlearnbench_fmn.params import TrainMethod


def trained(unet: torch.nn.Module, method: TrainMethod) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that `method` trains, by name and sorted by name."""
    chosen = {name: p for name, p in unet.named_parameters() if method == "full" or ".attn2." in name}
    return dict(sorted(chosen.items()))
