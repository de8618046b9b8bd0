"""The values V1 of one layer, refined until the UNet answers the edit prompts as it answered the target prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from unlearnbench.editing.layers import replaced

if TYPE_CHECKING:
    from collections.abc import Callable


def refine(
    layer: torch.nn.Linear,
    start: torch.Tensor,
    predict: Callable[[], torch.Tensor],
    target: torch.Tensor,
    *,
    learning_rate: float,
    steps: int,
    clamp: float | None = None,
) -> tuple[torch.Tensor, list[float]]:
    """Minimise ‖predict() − target‖² (mean) over the output z of one layer, by Adam.

    Args:
        layer: its output, without bias, is replaced by z.
        start: where z starts, W K1, [n, positions, o].
        predict: makes the noise prediction for the edit prompts, and so runs the layer.
        target: noise prediction of the unedited model for the target prompts; constant.
        learning_rate: Adam's learning rate.
        steps: Adam steps.
        clamp: after every step, δ = z − W k of each position is shortened to `clamp` ‖W k‖ (MEMIT); None = free.

    Returns:
        z, and the loss before every step.
    """
    z = start.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([z], lr=learning_rate)
    losses: list[float] = []
    with torch.enable_grad(), replaced(layer, z):
        for _ in range(steps):
            loss = torch.nn.functional.mse_loss(predict(), target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
            if clamp is not None:
                with torch.no_grad():
                    z.copy_(clamped(z, start, clamp))
    return z.detach(), losses


def clamped(z: torch.Tensor, start: torch.Tensor, factor: float) -> torch.Tensor:
    """Return z with ‖z − start‖ ≤ factor ‖start‖ at each position (the last dimension is the vector's)."""
    delta = z - start
    length = delta.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(z.dtype).tiny)
    bound = factor * start.norm(dim=-1, keepdim=True)
    shortened: torch.Tensor = start + delta * (bound / length).clamp(max=1.0)
    return shortened
