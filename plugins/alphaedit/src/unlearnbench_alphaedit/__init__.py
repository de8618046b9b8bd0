"""Null-space editing (AlphaEdit) of text encoder or UNet as an unlearnbench method."""

from unlearnbench.api import MethodSpec, hookimpl


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    """Register the method `alphaedit`."""
    return [
        MethodSpec(
            name="alphaedit",
            target="unlearnbench_alphaedit.method:AlphaEdit",
            params="unlearnbench_alphaedit.params:AlphaEditParams",
            summary="null-space constrained edit of the text encoder's fc2 layers, guided by the UNet",
            paper="Choudhary and Agrawal, Editing Concepts in Diffusion Models, U&ME at ICCV 2025; "
            "Fang et al., AlphaEdit (arXiv:2410.02355)",
            edits=("text_encoder.*.mlp.fc2.weight", "unet.*.ff.net.2.weight"),
            quick={"edits": 1, "batch": 2, "inner_steps": 2, "latent_steps": 2, "min_dim": 16, "lamb": 0.05},
        )
    ]
