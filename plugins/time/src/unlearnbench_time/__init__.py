"""TIME (Text-to-Image Model Editing) as an unlearnbench method."""

from unlearnbench.api import MethodSpec, hookimpl


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    """Register the method `time`."""
    return [
        MethodSpec(
            name="time",
            target="unlearnbench_time.method:TIME",
            params="unlearnbench_time.params:TIMEParams",
            summary="closed-form edit of the cross-attention that aligns a source prompt with a destination",
            paper="Orgad et al., Editing Implicit Assumptions in Text-to-Image Diffusion Models, ICCV 2023 "
            "(arXiv:2303.08084)",
            edits=("unet.*.attn2.to_k.weight", "unet.*.attn2.to_v.weight"),
        )
    ]
