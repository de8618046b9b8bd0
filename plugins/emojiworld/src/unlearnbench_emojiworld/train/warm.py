"""Start from weights that are there already: those that are shipped, or those of another training.

A folder of weights is what `train.export` writes: emoji-sd, judge-clip, and training.json, which says what was left
out.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from unlearnbench.errors import PrerequisiteError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from unlearnbench_emojiworld.train.arguments import Arguments
    from unlearnbench_emojiworld.train.config import Optimisation, StageName, Startable, TrainConfig

GENERATOR, JUDGE = "emoji-sd", "judge-clip"
RECORD = "training.json"
PARTS: dict[str, tuple[str, ...]] = {
    "vae": (GENERATOR, "vae"), "text": (GENERATOR, "text_encoder"), "unet": (GENERATOR, "unet"), "judge": (JUDGE,)
}  # fmt: skip


def left_out(weights: Path) -> tuple[str, ...]:
    """Return the concepts that weights were trained without; none, where nothing is recorded."""
    path = weights / RECORD
    return tuple(json.loads(path.read_text(encoding="utf-8"))["without"]) if path.exists() else ()


def may_start(arguments: Arguments, stage: Startable) -> bool:
    """Tell whether a stage starts from the weights that were named.

    Weights that saw a concept which is left out now are no start for a gold standard: then the stage starts afresh.
    """
    if arguments.start is None or stage not in arguments.config.start.warm:
        return False
    return never_saw(arguments.start, arguments.config.without)


def never_saw(weights: Path, without: Sequence[str]) -> bool:
    """Tell whether weights were trained without all of some concepts."""
    return set(without) <= set(left_out(weights))


def warm(module: nn.Module, arguments: Arguments, stage: Startable) -> bool:
    """Give a module the values of the named weights, if the stage may start from them; tell whether it does.

    Tensors that are missing there or have another shape keep their fresh values; how many is printed.

    Raises:
        PrerequisiteError: the weights are missing.
    """
    if arguments.start is None or not may_start(arguments, stage):
        return False
    given = read(arguments.start.joinpath(*PARTS[stage]))
    own = module.state_dict()
    fitting = {name: value.to(own[name].dtype) for name, value in given.items() if _fits(own, name, value)}
    module.load_state_dict(fitting, strict=False)
    print(f"{stage}: {len(fitting)} of {len(own)} tensors start from {arguments.start}")
    return True


def read(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a model folder in float32.

    Raises:
        PrerequisiteError: there is none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise PrerequisiteError(f"{folder} holds no weights", "name a folder that `train.export` wrote, with --from")
    return {name: _float(value) for file in files for name, value in load_file(file).items()}


def gentle(settings: Optimisation, arguments: Arguments, stage: Startable) -> Any:
    """Return the settings of a stage, with a smaller learning rate if it starts from weights."""
    if not may_start(arguments, stage):
        return settings
    rate = settings.learning_rate * arguments.config.start.warm[stage]
    return settings.model_copy(update={"learning_rate": rate})


def is_taken(start: Path | None, config: TrainConfig, stage: StageName) -> bool:
    """Tell whether the result of a stage is copied from the named weights.

    Tokenizer and autoencoder are, even if they saw what is left out: a gold standard shares them with the base model.
    """
    if start is None or stage not in config.start.taken:
        return False
    return stage != "text" or never_saw(start, config.without)


def _fits(own: dict[str, Tensor], name: str, value: Tensor) -> bool:
    return name in own and own[name].shape == value.shape


def _float(value: Tensor) -> Tensor:
    return value.to(torch.float32) if value.is_floating_point() else value


def check_weights(start: Path) -> None:
    """Refuse a folder that holds no generator.

    Raises:
        UserError: it holds none.
    """
    if not (start / GENERATOR).is_dir():
        raise UserError(f"{start} holds no {GENERATOR}", "name a folder that `train.export` wrote, with --from")


def starts_afresh(config: TrainConfig, start: Path | None) -> str:
    """Return which stages may not start from weights that saw what is left out, in words; '' if all may."""
    seen = [] if start is None else sorted(set(config.without) - set(left_out(start)))
    stages = dict.fromkeys([*(stage for stage in config.start.taken if stage == "text"), *config.start.warm])
    return f"{start} saw {', '.join(seen)}: {', '.join(stages)} start afresh" if seen else ""
