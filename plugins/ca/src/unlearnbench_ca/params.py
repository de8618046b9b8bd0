"""The parameters of Concept Ablation; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from unlearnbench.api import Params

Variant = Literal["model-based", "noise-based"]
TrainMethod = Literal["cross-attn", "attn", "full", "embedding"]
Rewrite = Literal["kind", "style", "replace", "affix", "caption", "pairs"]


class CAParams(Params):
    """Parameters of Concept Ablation; the defaults are those of the authors' code for objects and styles."""

    variant: Variant = Field("model-based", description="what the concept's prediction becomes: the anchor's, or ε")
    train_method: TrainMethod = Field(
        "cross-attn",
        description="keys and values of the cross-attention, all attention layers ('attn'), the 'full' UNet, or the "
        "token 'embedding' of the concept's words",
    )
    rewrite: Rewrite = Field(
        "kind",
        description="how an anchor prompt becomes a prompt of the concept: 'style' and 'affix' add it, 'replace' puts "
        "it in the anchor's place, 'caption' is its name alone, 'pairs' are its edit prompts; 'kind' = 'style' for "
        "styles, else 'replace'",
    )
    images: int = Field(1000, ge=1, le=100_000, description="anchor images of each concept, made by the base model")
    image_steps: int = Field(25, ge=1, le=1000, description="DPM-Solver++ steps of an anchor image")
    image_guidance: float = Field(6.0, ge=0.0, le=50.0, description="guidance scale of the anchor images")
    exclude_concept: bool = Field(False, description="the concept is the negative prompt of its anchor images")
    iterations: int = Field(100, ge=1, le=1_000_000, description="steps of AdamW")
    batch: int = Field(8, ge=1, le=1024, description="anchor images of one step")
    learning_rate: float = Field(2e-6, gt=0.0, le=1.0, description="AdamW's learning rate for a batch of one")
    scale_learning_rate: bool = Field(
        True, description="multiply the learning rate by the batch, and by 2 with prior preservation"
    )
    weight_decay: float = Field(1e-2, ge=0.0, le=1.0, description="AdamW's weight decay")
    max_gradient_norm: float = Field(1.0, gt=0.0, le=1e6, description="norm that gradients are clipped to")
    augment: bool = Field(True, description="show anchor images smaller or larger, with words for it, and flipped")
    prior_preservation: bool = Field(False, description="train on anchor images with their own prompts as well")
    prior_weight: float = Field(1.0, ge=0.0, le=1e6, description="weight of prior preservation")
