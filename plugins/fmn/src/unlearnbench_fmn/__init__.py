"""Forget-Me-Not (FMN) as an unlearnbench method."""

from unlearnbench.api import MethodSpec, hookimpl


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    """Register the method `fmn`."""
    return [
        MethodSpec(
            name="fmn",
            target="unlearnbench_fmn.method:ForgetMeNot",
            params="unlearnbench_fmn.params:FMNParams",
            summary="UNet trained until its cross-attention turns away from the concept's tokens",
            paper="Zhang et al., Forget-Me-Not: Learning to Forget in Text-to-Image Diffusion Models, arXiv:2303.17591",
            edits=("unet.*",),
            quick={"iterations": 2, "images": 2, "image_steps": 2, "learning_rate": 1e-3},
        )
    ]
