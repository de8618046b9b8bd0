"""Unified Concept Editing (UCE) as an unlearnbench method."""

from unlearnbench.api import MethodSpec, hookimpl


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    """Register the method `uce`."""
    return [
        MethodSpec(
            name="uce",
            target="unlearnbench_uce.method:UCE",
            params="unlearnbench_uce.params:UCEParams",
            summary="closed-form edit of the cross-attention keys and values; erases, moderates and debiases",
            paper="Gandikota et al., Unified Concept Editing in Diffusion Models, WACV 2024 (arXiv:2308.14761)",
            edits=("unet.*.attn2.to_k.weight", "unet.*.attn2.to_v.weight"),
        )
    ]
