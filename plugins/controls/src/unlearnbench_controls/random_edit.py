"""A change as large as another method's, in random directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from unlearnbench.api import Method, Task
from unlearnbench.errors import UserError
from unlearnbench_controls.like import other
from unlearnbench_controls.params import LikeParams

if TYPE_CHECKING:
    from unlearnbench.api import EditContext, ModelInfo, Request
    from unlearnbench.model import Model


class RandomEdit(Method[LikeParams]):
    """Add Gaussian noise to every tensor that another method changes, of the norm of that method's change.

    Where the other method leaves a tensor W as W + D, this leaves W + |D| G / |G|: G has independent standard normal
    entries, and norms are Frobenius norms. The edit of the other method is made for the same request, seed and model,
    and taken back. A method that forgets no more than this forgets by damage alone.
    """

    params_type = LikeParams
    tasks: ClassVar[tuple[Task, ...]] = ("erase", "moderate", "debias", "data")

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse what the other method refuses."""
        return other(self.params).refusal(model, request)

    @torch.no_grad()
    def edit(self, model: Model, request: Request, ctx: EditContext) -> None:
        """Change what the other method changes.

        Raises:
            UserError: the other method changes no weight, or leaves other tensors than it found.
        """
        before = {name: tensor.detach().clone() for name, tensor in model.tensors().items()}
        with torch.enable_grad():
            other(self.params).edit(model, request, ctx)
        after = model.tensors()
        if before.keys() != after.keys():
            raise UserError(f"{self.params.like} adds or removes tensors", "name another method: -p like=uce")
        norms: dict[str, float] = {}
        for name, tensor in sorted(after.items()):
            # An integer buffer has no direction.
            if not tensor.is_floating_point() or torch.equal(tensor, before[name]):
                continue
            norms[name] = float((tensor.double() - before[name].double()).norm())
            noise = torch.randn(tensor.shape, generator=ctx.generator("random-edit", name)).double()
            step = noise * (norms[name] / float(noise.norm()))
            tensor.copy_(before[name].double() + step.to(tensor.device))
        if not norms:
            raise UserError(
                f"{self.params.like} changes no weight here, so that there is no norm to match",
                "name a method that changes weights: -p like=uce",
            )
        ctx.report(like=self.params.like, norms=norms)
