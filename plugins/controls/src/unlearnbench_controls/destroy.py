"""The end of all text conditioning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch

from unlearnbench.api import Method, Task
from unlearnbench_controls.params import NoParams

if TYPE_CHECKING:
    from unlearnbench.api import EditContext, ModelInfo, Request
    from unlearnbench.model import Model


class Destroy(Method[NoParams]):
    """Set the keys and values of every cross-attention layer to zero, whatever the concept.

    Every token then gets the same attention, and its value is zero: the layer adds the bias of its output, and images
    no longer depend on their prompt. It forgets as much as can be forgotten and retains what chance draws, so a score
    that ranks it high can be had by destruction.
    """

    params_type = NoParams
    tasks: ClassVar[tuple[Task, ...]] = ("erase", "moderate", "debias", "data")

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse models without text cross-attention."""
        if model.family == "sd":
            return None
        return f"it zeroes cross-attention keys and values, and a model of family '{model.family}' has none it knows"

    @torch.no_grad()
    def edit(self, model: Model, request: Request, ctx: EditContext) -> None:
        """Zero all `attn2.to_k` and `attn2.to_v`."""
        layers: list[Any] = list(model.cross_attention().values())
        for layer in layers:
            for parameter in (*layer.to_k.parameters(), *layer.to_v.parameters()):
                parameter.zero_()
        ctx.report(layers=len(layers))
