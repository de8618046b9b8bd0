"""Least-squares editing without projection (MEMIT) as an unlearnbench method."""

from unlearnbench.api import MethodSpec, hookimpl


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    """Register the method `memit`."""
    return [
        MethodSpec(
            name="memit",
            target="unlearnbench_memit.method:MEMIT",
            params="unlearnbench_memit.params:MEMITParams",
            summary="least-squares edit of text encoder or UNet matrices, held by the retain inputs",
            paper="Meng et al., Mass-Editing Memory in a Transformer, ICLR 2023 (arXiv:2210.07229); "
            "Choudhary and Agrawal, Editing Concepts in Diffusion Models, U&ME at ICCV 2025",
            edits=(
                "text_encoder.*.mlp.fc2.weight",
                "unet.*.ff.net.2.weight",
                "unet.*.attn2.to_k.weight",
                "unet.*.attn2.to_v.weight",
            ),
            quick={"edits": 1, "batch": 2, "inner_steps": 2, "latent_steps": 2, "lamb": 1.0},
        )
    ]
