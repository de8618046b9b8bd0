"""Layers from inside: what goes in and out of them, and what causality makes equal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

K = TypeVar("K")


@contextmanager
def captured(modules: Mapping[K, torch.nn.Module]) -> Iterator[dict[K, tuple[torch.Tensor, torch.Tensor]]]:
    """Record (first input, first output, bias included) of each module in the last forward pass inside the block."""
    seen: dict[K, tuple[torch.Tensor, torch.Tensor]] = {}

    def keep(key: K) -> Callable[..., None]:
        def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
            seen[key] = (inputs[0].detach(), (output[0] if isinstance(output, tuple) else output).detach())

        return hook

    handles = [module.register_forward_hook(keep(key)) for key, module in modules.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replaced(layer: torch.nn.Linear, value: torch.Tensor) -> Iterator[None]:
    """Let `layer` put out `value` plus its bias, whatever goes in; `value` may ask for a gradient."""

    def hook(*_: Any) -> torch.Tensor:
        return value if layer.bias is None else value + layer.bias

    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def without_bias(layer: torch.nn.Linear, output: torch.Tensor) -> torch.Tensor:
    """Return W k for an output W k + b."""
    return output if layer.bias is None else output - layer.bias


def prefixes(ids: torch.Tensor) -> torch.Tensor:
    """Number the distinct prefixes of token sequences.

    The text encoder is causal: two positions with the same prefix have the same inputs and outputs in every layer.

    Args:
        ids: [n, positions] token ids.

    Returns:
        [n, positions] numbers from 0 on; equal exactly where position and all ids up to it are equal.
    """
    groups = torch.empty_like(ids)
    before = torch.zeros(len(ids), dtype=ids.dtype, device=ids.device)
    offset = 0
    for position in range(ids.shape[1]):
        _, before = torch.unique(torch.stack([before, ids[:, position]]), dim=1, return_inverse=True)
        groups[:, position] = before + offset
        offset += int(before.max()) + 1
    return groups


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
