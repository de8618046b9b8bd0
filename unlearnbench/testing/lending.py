"""What the harness lends a method, for tests that call the method themselves."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unlearnbench.progress import Reporter
from unlearnbench.run.stages import HarnessContext

if TYPE_CHECKING:
    from unlearnbench.api import Method, Request
    from unlearnbench.model import Model

NOWHERE = Path("no folder was lent")


def edit_context(seed: int = 0, tmp: Path = NOWHERE) -> HarnessContext:
    """Make the context of one edit on the CPU; `values` holds what the method reports.

    Args:
        seed: seed of the edit.
        tmp: folder that the method may write to; without one, a method that writes fails.
    """
    return HarnessContext(seed, torch.device("cpu"), tmp, logging.getLogger("unlearnbench.test"), Reporter(), {})


def try_edit(
    method: Method[Any], model: Model, request: Request, seed: int = 0, tmp: Path = NOWHERE
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Edit a model, find out what changed, and leave the model as it was.

    Returns:
        The changed tensors by name, as an edit file holds them, and what the method reported.
    """
    context = edit_context(seed, tmp)
    with model.edited():
        method.edit(model, request, context)
        return model.diff(), context.values
