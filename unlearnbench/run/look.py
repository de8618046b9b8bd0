"""A model from outside: what must be the same before and after an edit, apart from the values that it may change."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from unlearnbench.edits import cpu_copy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unlearnbench.model import Model

_PARTS = ("unet", "text_encoder", "vae")


@dataclass(frozen=True)
class Look:
    """What a model looks like at one moment.

    Attributes:
        tensors: name -> (shape, dtype, device) of what an edit file may hold.
        buffers: which of these are buffers, and no weights.
        flags: module -> training mode, parameter -> whether it asks for a gradient.
        parts: module -> its type, attention processor and number of hooks.
        rest: what no edit file holds: digests of the autoencoder and of buffers that are not saved, configurations,
            vocabulary, and which objects the model consists of.
    """

    tensors: dict[str, tuple[tuple[int, ...], torch.dtype, torch.device]]
    buffers: frozenset[str]
    flags: dict[str, bool]
    parts: dict[str, str]
    rest: dict[str, Any]


def look(model: Model) -> Look:
    """Look at a model from outside."""
    flags: dict[str, bool] = {}
    parts: dict[str, str] = {}
    rest: dict[str, Any] = {}
    for part in _PARTS:
        root = getattr(model, part)
        rest[f"the object that is the model's {part}"] = id(root)
        for name, module in root.named_modules():
            where = f"{part}.{name}".rstrip(".")
            flags[f"training mode of {where}"] = module.training
            hooks = sum(len(value) for key, value in vars(module).items() if key.endswith("_hooks") and value)
            processor = type(getattr(module, "processor", None)).__name__
            parts[where] = f"{type(module).__name__}, processor {processor}, {hooks} hooks"
        flags |= {f"requires_grad of {part}.{name}": p.requires_grad for name, p in root.named_parameters()}
        saved = set() if part == "vae" else set(root.state_dict())
        outside = {**dict(root.named_parameters()), **dict(root.named_buffers())}
        rest |= {f"{part}.{name}": _digest(t) for name, t in outside.items() if name not in saved}
    for part in ("scheduler", "unet", "vae"):
        rest[f"the configuration of the {part}"] = str(sorted(dict(getattr(model, part).config).items()))
    rest["the vocabulary of the tokenizer"] = str(sorted(model.tokenizer.get_vocab().items()))
    named = model.tensors()
    return Look(
        tensors={name: (tuple(t.shape), t.dtype, t.device) for name, t in named.items()},
        buffers=frozenset(name for name, t in named.items() if not isinstance(t, torch.nn.Parameter)),
        flags=flags,
        parts=parts,
        rest=rest,
    )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say which entries are gone, new or other than before."""
    said = [f"{name} is gone" for name in old if name not in new]
    said += [f"{name} is new" for name in new if name not in old]
    for name in old:
        if name in new and old[name] != new[name]:
            short = isinstance(old[name], bool | tuple | str) and len(f"{old[name]}{new[name]}") < 180
            said.append(f"{name} changed" + (f" from {old[name]} to {new[name]}" if short else ""))
    return said


def _digest(tensor: torch.Tensor) -> bytes:
    values = cpu_copy(tensor).reshape(-1).view(torch.uint8)
    return hashlib.blake2b(values.numpy().data, digest_size=16).digest()
