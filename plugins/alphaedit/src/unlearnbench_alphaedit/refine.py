"""The values V1 of one layer, refined until the UNet answers the edit prompts as it answered the target prompts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch

from unlearnbench_alphaedit.encoder import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


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


def without_denormals(function: Callable[[], T]) -> T:
    """Call a function in a thread of its own that treats subnormal numbers as zero; a CPU is many times slower on them.

    The mode belongs to a thread, and the worker threads of torch take it over from the thread that starts them. Workers
    that run already would not, so setting it for the calling thread would reach only its own share of the work. The
    caller's mode and workers stay as they are.
    """
    with ThreadPoolExecutor(max_workers=1, initializer=torch.set_flush_denormal, initargs=(True,)) as thread:
        return thread.submit(function).result()
