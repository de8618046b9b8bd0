"""What tensors are called here and elsewhere."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from unlearnbench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Shapes = dict[str, tuple[int, ...]]


def spellings(name: str) -> Iterator[str]:
    """Yield the names that a tensor may have in an edit file, from what it is called elsewhere."""
    yield name
    yield f"unet.{name}"
    yield f"text_encoder.{name}"
    yield f"text_encoder.text_model.{name}"
    yield name.replace("text_encoder.", "text_encoder.text_model.", 1)


def refusal(path: Path, unknown: list[str], shapes: Shapes) -> UserError:
    """Return the error for tensors that the model lacks."""
    more = f" (nor {len(unknown) - 1} others)" if len(unknown) > 1 else ""
    if any(name.startswith(("model.diffusion_model.", "cond_stage_model.")) for name in unknown):
        hint = "convert the checkpoint to diffusers first (StableDiffusionPipeline.from_single_file)"
    else:
        near = get_close_matches(f"unet.{unknown[0].removeprefix('unet.')}", shapes, n=1)
        hint = f"names must be the model's{f', such as {near[0]}' if near else ''}; use the model they were made for"
    return UserError(f"{path}: the model has no {unknown[0]}{more}", hint)
