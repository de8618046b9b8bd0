"""Gradients of two losses, and the directions that the methods make of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench_siss.params import Scaling

Gradient = list[torch.Tensor]


class Accumulated:
    """The gradients of several losses, each summed over forward passes."""

    def __init__(self, parameters: Sequence[torch.Tensor]) -> None:
        self._parameters = list(parameters)
        self.sums: list[Gradient] = []

    def add(self, losses: Sequence[torch.Tensor], share: float) -> None:
        """Add the gradient of each loss, times `share`; the losses may share a graph."""
        for number, loss in enumerate(losses):
            found = torch.autograd.grad(
                loss * share, self._parameters, retain_graph=number < len(losses) - 1, materialize_grads=True
            )
            if number < len(self.sums):
                torch._foreach_add_(self.sums[number], list(found))
            else:
                self.sums.append(list(found))


def norm(gradient: Gradient) -> float:
    """Return the length of a gradient over all parameters together."""
    return math.sqrt(sum(float(part.double().square().sum()) for part in gradient))


def dot(one: Gradient, other: Gradient) -> float:
    """Return the inner product of two gradients."""
    return sum(float((a.double() * b.double()).sum()) for a, b in zip(one, other, strict=True))


def forget_factor(g_x: Gradient, g_a: Gradient, scaling: Scaling, size: float) -> float | None:
    """Return κ of g = g_x − κ g_a.

    Args:
        g_x: gradient of the retain term.
        g_a: gradient of the forget term.
        scaling: "norm": ‖κ g_a‖ = `size`; "share": ‖κ g_a‖ = `size` ‖g_x‖; "none": κ = `size`.
        size: see `scaling`.

    Returns:
        None if g_a has no length, so that no κ gives it one: the step is to be left out.
    """
    if scaling == "none":
        return size
    length = norm(g_a)
    if length == 0.0:
        return None
    return size * (norm(g_x) if scaling == "share" else 1.0) / length


def erasing_factor(g_x: Gradient, g_f: Gradient, eta: float) -> float:
    """Return max(η − ⟨g_x, g_f⟩ / ‖g_f‖², 0), so that g = g_x + factor · g_f has ⟨g, g_f⟩ ≥ η ‖g_f‖² (EraseDiff)."""
    square = dot(g_f, g_f)
    return 0.0 if square == 0.0 else max(eta - dot(g_x, g_f) / square, 0.0)


def add_scaled(one: Gradient, factor: float, other: Gradient) -> Gradient:
    """Return one + factor · other, in the place of `one`."""
    torch._foreach_add_(one, other, alpha=factor)
    return one
