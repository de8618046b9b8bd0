"""Which parameters each train method changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from unlearnbench_ca.params import TrainMethod

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")


def trained(unet: torch.nn.Module, method: TrainMethod) -> dict[str, torch.nn.Parameter]:
    """Return the parameters of the UNet that `method` trains, by name and sorted by name; none for "embedding"."""
    match method:
        case "cross-attn":
            layers = tuple(f".attn2.{part}" for part in ("to_k", "to_v"))
        case "attn":
            layers = tuple(f".{attention}.{part}" for attention in ("attn1", "attn2") for part in PROJECTIONS)
        case "full":
            layers = ("",)
        case "embedding":
            layers = ()
    chosen = {name: p for name, p in unet.named_parameters() if name.rpartition(".")[0].endswith(layers)}
    return dict(sorted(chosen.items()))
