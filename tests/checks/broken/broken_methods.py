"""Methods that each break one promise, and keep all others."""

import logging
import os
import random
import tempfile
from pathlib import Path

import broken_params
import heavy_params
import numpy as np
import torch
from safetensors.torch import save_file

from unlearnbench.testing.fakes import BrightnessParams
from unlearnbench.testing.shift import Shift


class Sourceless(Shift):
    """Moves the keys."""


class OtherParams(Shift):
    """A method of 2026 that says it takes other parameters."""

    params_type = BrightnessParams


class Heavy(Shift):
    """A method of 2026."""

    params_type = heavy_params.Heavy


def with_params(name):
    """Make the method whose parameters are `broken_params.<name>`."""
    return type(name, (Shift,), {"__doc__": "A method of 2026.", "params_type": getattr(broken_params, name)})


Untyped, Unbounded, Undescribed = with_params("Untyped"), with_params("Unbounded"), with_params("Undescribed")
Required, Forbidden, Rounded = with_params("Required"), with_params("Forbidden"), with_params("Rounded")
Lenient, Foreign = with_params("Lenient"), with_params("Foreign")


class Sound(Shift):
    """A method of 2026 whose `after` is called when the sound edit is done."""

    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        self.after(model, request, ctx)

    def after(self, model, request, ctx):
        pass


class Boastful(Sound):
    def supports(self, model, request):
        return None


class Mumbling(Sound):
    def supports(self, model, request):
        return None if model.family == "sd" else "no"


class Raising(Sound):
    def after(self, model, request, ctx):
        raise RuntimeError("the weights exploded")


class Refusing(Sound):
    def supports(self, model, request):
        return "it forgets numbers only"


class Returning(Sound):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        return model


class Idle(Sound):
    def edit(self, model, request, ctx):
        pass


class Sprawling(Sound):
    def after(self, model, request, ctx):
        model.unet.conv_in.weight.data.mul_(1.5)


class Decoding(Sound):
    def after(self, model, request, ctx):
        next(model.vae.parameters()).data.mul_(1.5)


class Infinite(Sound):
    def after(self, model, request, ctx):
        next(iter(model.cross_attention().values())).to_k.weight.data[0, 0] = torch.inf


class Adding(Sound):
    def after(self, model, request, ctx):
        model.unet.register_buffer("moment", torch.zeros(3))


class Casting(Sound):
    def after(self, model, request, ctx):
        layer = next(iter(model.cross_attention().values())).to_k
        layer.weight = torch.nn.Parameter(layer.weight.double(), requires_grad=False)


class Training(Sound):
    def after(self, model, request, ctx):
        model.unet.train()


class Thawing(Sound):
    def after(self, model, request, ctx):
        next(iter(model.cross_attention().values())).to_k.requires_grad_(True)


class Hooking(Sound):
    def after(self, model, request, ctx):
        model.unet.conv_in.register_forward_hook(lambda *_: None)


class Hiding(Sound):
    def after(self, model, request, ctx):
        model.unet.conv_norm_out.eps = 1.0


class Erratic(Sound):
    def after(self, model, request, ctx):
        noise = torch.Generator().manual_seed(int.from_bytes(os.urandom(6), "big"))
        weight = next(iter(model.cross_attention().values())).to_k.weight
        weight.data.add_(torch.randn(weight.shape, generator=noise))


class Seedless(Sound):
    def edit(self, model, request, ctx):
        for concept in request.forget:
            for name, module in model.cross_attention().items():
                generator = ctx.generator(concept.id, name).manual_seed(len(name) + len(concept.id))
                module.to_k.weight.data.add_(torch.randn(module.to_k.weight.shape, generator=generator))


class DrawsFromTorch(Sound):
    def after(self, model, request, ctx):
        torch.rand(1)


class DrawsFromNumpy(Sound):
    def after(self, model, request, ctx):
        np.random.rand()  # noqa: NPY002  the fault


class DrawsFromPython(Sound):
    def after(self, model, request, ctx):
        random.random()


class KeepsGradOff(Sound):
    def after(self, model, request, ctx):
        torch.set_grad_enabled(False)


class KeepsThreads(Sound):
    def after(self, model, request, ctx):
        torch.set_num_threads(torch.get_num_threads() + 1)


class KeepsDtype(Sound):
    def after(self, model, request, ctx):
        torch.set_default_dtype(torch.float64)


class KeepsDenormalsOff(Sound):
    def after(self, model, request, ctx):
        torch.set_flush_denormal(True)


class Exporting(Sound):
    def after(self, model, request, ctx):
        os.environ["NUDGE_WORKERS"] = "4"


class Wandering(Sound):
    def after(self, model, request, ctx):
        os.chdir(ctx.tmp)


class Shouting(Sound):
    def after(self, model, request, ctx):
        logging.getLogger().setLevel(logging.DEBUG)


class Littering(Sound):
    def after(self, model, request, ctx):
        Path("scratch.txt").write_text("here")


class LitteringElsewhere(Sound):
    def after(self, model, request, ctx):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "scratch.txt").write_text("there")


class LitteringUnheard(Sound):
    """Writes without python (2026)."""

    def after(self, model, request, ctx):
        save_file({"x": torch.zeros(2)}, "scratch.safetensors")


class Forgetful(Sound):
    def edit(self, model, request, ctx):
        super().edit(model, request.model_copy(update={"forget": request.forget[:1]}), ctx)


class Hardcoded(Sound):
    def after(self, model, request, ctx):
        model.encode([request.forget[0].name]).states.view(77, -1)


class Tidy(Sound):
    def after(self, model, request, ctx):
        (ctx.tmp / "scratch.txt").write_text("in its place")
        with torch.random.fork_rng(devices=[]):
            torch.rand(1)
