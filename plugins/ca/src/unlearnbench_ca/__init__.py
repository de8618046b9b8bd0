"""Concept Ablation (CA) as an unlearnbench method."""

from unlearnbench.api import MethodSpec, hookimpl


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    """Register the method `ca`."""
    return [
        MethodSpec(
            name="ca",
            target="unlearnbench_ca.method:ConceptAblation",
            params="unlearnbench_ca.params:CAParams",
            summary="UNet layers trained to answer the concept's prompts as they answer its anchor's",
            paper="Kumari et al., Ablating Concepts in Text-to-Image Diffusion Models, ICCV 2023 (arXiv:2303.13516)",
            edits=("unet.*", "text_encoder.*.token_embedding.weight"),
            quick={"iterations": 2, "batch": 2, "images": 2, "image_steps": 2, "learning_rate": 1e-3},
        )
    ]
