import torch

from unlearnbench.testing.shift import Shift


class Broken(Shift):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        if request.forget[0].id == self.params.fail_on:
            raise RuntimeError("the weights exploded")


class Picky(Shift):
    def supports(self, model, request):
        return "it only forgets numbers"


class NotANumber(Shift):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        with torch.no_grad():
            model.unet.conv_out.weight[0] = float("nan")
            model.vae.decoder.conv_out.bias.add_(1.0)


class Idle(Shift):
    def edit(self, model, request, ctx):
        pass
