"""A method that conforms and forgets nothing in particular."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from unlearnbench.api import Method, Params
from unlearnbench.testing.fakes import ShiftParams

if TYPE_CHECKING:
    from unlearnbench.api import EditContext, ModelInfo, Request
    from unlearnbench.model import Model


class Shift(Method[ShiftParams]):
    """Add seeded Gaussian noise to every key matrix, once a concept (a fake, unlearnbench 2026)."""

    params_type: ClassVar[type[Params]] = ShiftParams

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse what is no Stable Diffusion."""
        return None if model.family == "sd" else f"a model of family '{model.family}' has no keys that it knows"

    @torch.no_grad()
    def edit(self, model: Model, request: Request, ctx: EditContext) -> None:
        """Change all `attn2.to_k` weights of the UNet, and nothing else."""
        for concept in ctx.progress(request.forget, "concepts"):
            for name, module in model.cross_attention().items():
                weight: torch.Tensor = module.get_submodule("to_k").get_parameter("weight")
                noise = torch.randn(weight.shape, generator=ctx.generator(concept.id, name))
                weight.add_(self.params.amount * noise.to(weight))
        ctx.report(amount=self.params.amount)
