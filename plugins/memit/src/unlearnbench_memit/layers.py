"""The layers that can be edited, and what goes in and out of them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from unlearnbench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from unlearnbench.model import Model
    from unlearnbench_memit.params import MEMITParams

FC2 = re.compile(r"(?:^|\.)encoder\.layers\.(?P<number>\d+)\.mlp\.fc2$")
FFN = re.compile(r"\.transformer_blocks\.\d+\.ff\.net\.2$")


def choose(model: Model, params: MEMITParams) -> dict[str, torch.nn.Linear]:
    """Return the layers to edit by module name, in the order in which the model runs them.

    Raises:
        UserError: there is none.
    """
    if params.matrices == "text":
        wanted = params.layers
        numbered = sorted((int(m["number"]), n, x) for n, x, m in _linears(model.text_encoder, FC2))
        chosen = ((n, name, x) for n, name, x in numbered if (n in wanted if wanted else n > 0))
        # transformers before 5.6 puts 'text_model.' in front
        found = {name.removeprefix("text_model."): layer for _, name, layer in chosen}
    elif params.matrices == "ffn":
        found = dict(sorted((name, layer) for name, layer, _ in _linears(model.unet, FFN)))
    else:
        attention: dict[str, Any] = dict(model.cross_attention())
        found = {f"{name}.{part}": getattr(m, part) for name, m in attention.items() for part in ("to_k", "to_v")}
    if not found:
        raise UserError(
            f"The model has no layer of matrices = '{params.matrices}' to edit.",
            "Use a Stable Diffusion 1.x or 2.x model; of a text encoder with one layer, name it: -p layers=[0]",
        )
    return found


def _linears(module: torch.nn.Module, pattern: re.Pattern[str]) -> Iterator[tuple[str, torch.nn.Linear, re.Match[str]]]:
    for name, part in module.named_modules():
        if isinstance(part, torch.nn.Linear) and (match := pattern.search(name)):
            yield name, part, match


@contextmanager
def captured(modules: Mapping[str, torch.nn.Module]) -> Iterator[dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Record (first input, first output) of each module in the last forward pass inside the block."""
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
            seen[name] = (inputs[0].detach(), (output[0] if isinstance(output, tuple) else output).detach())

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
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
    """Number the distinct beginnings of token sequences, [n, positions].

    The text encoder is causal: positions with equal beginnings have equal inputs and outputs in each of its layers.
    """
    numbers: list[torch.Tensor] = []
    count = 0
    for position in range(1, ids.shape[1] + 1):
        _, number = torch.unique(ids[:, :position], dim=0, return_inverse=True)
        numbers.append(number + count)
        count += int(number.max()) + 1
    return torch.stack(numbers, dim=1)
