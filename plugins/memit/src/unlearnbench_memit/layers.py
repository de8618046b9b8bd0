"""The layers that can be edited, and what goes in and out of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from unlearnbench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

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
