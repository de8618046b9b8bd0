"""The values V1 of one layer, refined until the UNet answers the edit prompts as it answered the target prompts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from unlearnbench_alphaedit.encoder import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def refine(
    layer: torch.nn.Linear,
    start: torch.Tensor,
    predict: Callable[[], torch.Tensor],
    target: torch.Tensor,
    *,
    learning_rate: float,
    steps: int,
) -> tuple[torch.Tensor, list[float]]:
    """Minimise ‖predict() − target‖² (mean) over the output z of one layer, by Adam.

    Args:
        layer: fc2 layer whose output, without bias, is replaced by z.
        start: where z starts, [n, positions, o]; W K1 in the report.
        predict: makes the noise prediction for the edit prompts; runs the text encoder and so the layer.
        target: noise prediction for the target prompts by the unedited encoder; constant.
        learning_rate: Adam's learning rate. Adam moves a coordinate by up to so much in one step, whatever the scale
            of the loss.
        steps: Adam steps.

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
    return z.detach(), losses


@contextmanager
def frozen(*modules: torch.nn.Module) -> Iterator[None]:
    """Ask no parameter for a gradient inside the block; put every flag back afterwards.

    Without this, backward passes compute the gradients of all weights, which takes most of the time.
    """
    flags = [(p, p.requires_grad) for module in modules for p in module.parameters()]
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Treat subnormal numbers as zero inside the block; a CPU is many times slower on them. Puts the mode back."""
    was = flushes_denormals()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was)


def flushes_denormals() -> bool:
    """Return whether arithmetic treats subnormal numbers as zero at present."""
    return float(torch.tensor(1e-310, dtype=torch.float64) * 1.0) == 0.0
