"""The text encoder from inside: its fc2 layers, what goes in and out of them, and what causality makes equal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from unlearnbench.editing.layers import captured, prefixes
from unlearnbench_alphaedit.nullspace import Moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unlearnbench.model import Model

# transformers before 5.6 puts 'text_model.' in front
FC2 = re.compile(r"(?:^|\.)encoder\.layers\.(\d+)\.mlp\.fc2$")
BATCH = 32
Name = int | str  # a layer: its number in the text encoder, its module's name in the UNet


def fc2_layers(text_encoder: torch.nn.Module) -> dict[Name, torch.nn.Linear]:
    """Return the second MLP layer of every layer of the text encoder, by number from 0, ascending."""
    found = {
        int(match.group(1)): module
        for name, module in text_encoder.named_modules()
        if (match := FC2.search(name)) and isinstance(module, torch.nn.Linear)
    }
    return dict(sorted(found.items()))


def states(model: Model, ids: torch.Tensor) -> torch.Tensor:
    """Return the text embedding of token ids, [n, positions, width], with gradient where something asks for one."""
    embedding: torch.Tensor = model.text_encoder(ids).last_hidden_state
    return embedding


@torch.no_grad()
def moments(model: Model, layers: Mapping[Name, torch.nn.Linear], prompts: Sequence[str]) -> dict[Name, Moment]:
    """Add up K0 K0ᵀ of every layer over all token positions of the retain prompts, with the current weights.

    Columns that causality makes equal (BOS, shared beginnings) are multiplied once and counted as often as they occur.
    """
    sums = {number: Moment(layer.in_features, layer.weight.device) for number, layer in layers.items()}
    if not prompts:
        return sums
    ids, _, _ = model.tokenize(prompts)
    first, counts = first_of_each(prefixes(ids))
    positions = ids.shape[1]
    for start in range(0, len(ids), BATCH):
        with captured(layers) as seen:
            states(model, ids[start : start + BATCH])
        here = (first >= start * positions) & (first < (start + BATCH) * positions)
        columns = first[here] - start * positions
        for number, (inputs, _) in seen.items():
            sums[number].add(inputs.flatten(0, 1)[columns].T, counts[here])
    return sums


def first_of_each(groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where each group occurs first in the flattened `groups`, and how often it occurs, in order of number."""
    flat = groups.flatten()
    counts = torch.bincount(flat)
    first = torch.full_like(counts, len(flat))
    first.scatter_reduce_(0, flat, torch.arange(len(flat), device=flat.device), reduce="amin")
    present = counts > 0
    return first[present], counts[present]
