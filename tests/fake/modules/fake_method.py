import torch

from unlearnbench.api import Method


class Shift(Method):
    """Moves every key matrix by seeded noise."""

    def edit(self, model, request, ctx):
        for name, module in model.cross_attention().items():
            weight = module.to_k.weight
            noise = torch.randn(weight.shape, generator=ctx.generator(name))
            with torch.no_grad():
                weight.add_(self.params.amount * noise)
        for _ in ctx.progress(range(3), "pretending"):
            pass
        ctx.report(amount=self.params.amount)


class Broken(Shift):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        if request.forget[0].id == self.params.fail_on:
            raise RuntimeError("the weights exploded")


class Picky(Shift):
    def supports(self, model, request):
        return "it only forgets numbers"
