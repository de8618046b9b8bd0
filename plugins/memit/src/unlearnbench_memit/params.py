"""The parameters of MEMIT; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from unlearnbench.api import Params

Matrices = Literal["text", "ffn", "kv"]
Pairs = Literal["prompts", "names"]
MomentRule = Literal["sum", "mean"]
Values = Literal["unet", "naive"]


class MEMITParams(Params):
    """Parameters of MEMIT; what is left unset follows the matrices that are edited."""

    matrices: Matrices = Field(
        "text",
        description="fc2 of the text encoder, the UNet's feed-forward layers ('ffn'), or its cross-attention keys and "
        "values ('kv')",
    )
    layers: tuple[Annotated[int, Field(ge=0, le=999)], ...] | None = Field(
        None, description="text encoder layers whose fc2 is edited, from 0; none = all but the first"
    )
    pairs: Pairs = Field("prompts", description="edit with the edit-target prompt pairs, or the bare 'names'")
    edits: int | None = Field(None, ge=1, le=1000, description="edits of every layer; none = 10 text, 40 ffn, 1 kv")
    batch: int = Field(
        8,
        ge=1,
        le=1024,
        description="pairs of each concept drawn for one edit; all where no latents are needed",
    )
    moment: MomentRule = Field("sum", description="C0 = μ K0 K0ᵀ, or μ times its mean over the columns of K0")
    preserve_scale: float | None = Field(
        None, gt=0.0, le=1e12, description="μ, weight of the retain inputs; none = 1 for the sum, 15000 for the mean"
    )
    lamb: float = Field(0.0, ge=0.0, le=1e12, description="λ, weight of ‖Δ‖² besides C0")
    values: Values | None = Field(
        None, description="V1 refined through the UNet, or what target prompts give ('naive'); none = naive for kv"
    )
    spread: bool = Field(False, description="text: spread the change of the last layer's output over all layers")
    clamp_norm_factor: float | None = Field(
        None,
        gt=0.0,
        le=1e6,
        description="greatest change of W k at each position, as a share of ‖W k‖; none = free",
    )
    learning_rate: float = Field(0.2, gt=0.0, le=100.0, description="Adam's learning rate for V1")
    inner_steps: int = Field(6, ge=1, le=1000, description="Adam steps for V1 of one layer")
    t_min: int = Field(10, ge=0, le=999, description="smallest timestep of the noisy latents")
    t_max: int = Field(50, ge=0, le=999, description="largest timestep of the noisy latents, included")
    latent_steps: int = Field(10, ge=1, le=1000, description="LMS steps that make the latents of prompts")
    guidance: float = Field(7.5, ge=0.0, le=50.0, description="guidance scale of the latents")
    retain_latents: int = Field(
        64, ge=1, le=100_000, description="ffn: retain prompts at most whose latents K0 is collected from"
    )

    @model_validator(mode="after")
    def _consistent(self) -> MEMITParams:
        if self.t_min > self.t_max:
            raise ValueError("t_min is above t_max")
        if self.layers is not None and (not self.layers or len(set(self.layers)) != len(self.layers)):
            raise ValueError("layers needs at least one layer, each once")
        if self.matrices != "text" and (self.layers is not None or self.spread):
            raise ValueError("layers and spread belong to the text encoder: they need matrices = 'text'")
        return self
