"""Erased Stable Diffusion (ESD) as an unlearnbench method."""

from unlearnbench.api import MethodSpec, hookimpl


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    """Register the method `esd`."""
    return [
        MethodSpec(
            name="esd",
            target="unlearnbench_esd.method:ESD",
            params="unlearnbench_esd.params:ESDParams",
            summary="UNet layers trained until the concept's prediction is guided away from the concept",
            paper="Gandikota et al., Erasing Concepts from Diffusion Models, ICCV 2023 (arXiv:2303.07345)",
            edits=("unet.*.weight", "unet.*.bias"),
            quick={"iterations": 2, "sampling_steps": 2, "learning_rate": 1e-3},
        )
    ]
