"""The parameters of AlphaEdit; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from unlearnbench.api import Params

Matrices = Literal["text", "ffn"]
Rule = Literal["relative_mean", "absolute_moment", "rank"]
Values = Literal["unet", "naive"]
Pairs = Literal["prompts", "names"]
Latents = Literal["fresh", "reused"]


class AlphaEditParams(Params):
    """Parameters of AlphaEdit, guided by the UNet."""

    matrices: Matrices = Field(
        "text", description="what is edited: fc2 of the text encoder, or of the UNet's feed-forward layers ('ffn')"
    )
    layers: tuple[Annotated[int, Field(ge=0, le=999)], ...] | None = Field(
        None, description="text encoder layers whose fc2 is edited, from 0; none = all but the first"
    )
    pairs: Pairs = Field("prompts", description="edit with the edit-target prompt pairs, or the bare 'names'")
    edits: int = Field(10, ge=1, le=1000, description="edits of every layer (epochs); one is often enough")
    batch: int = Field(8, ge=1, le=1024, description="prompt pairs drawn, with replacement, for one edit")
    lamb: float = Field(200.0, gt=0.0, le=1e12, description="λ, weight of ‖Δ‖² against all batch x position columns")
    projection: bool = Field(True, description="keep Δ in the null space of K0; false: least squares against K0 K0ᵀ")
    null_rule: Rule = Field(
        "relative_mean",
        description="which eigenvalues of K0 K0ᵀ are null: under tol x their mean, under tol x the number of columns "
        "('absolute_moment'), or the min_dim smallest ('rank')",
    )
    null_tol: float = Field(1 / 90000, gt=0.0, le=1e6, description="tolerance of the rule")
    min_dim: int = Field(
        100, ge=1, le=100_000, description="dimensions of the null space at least, whatever their eigenvalues"
    )
    max_dim: int | None = Field(None, ge=1, le=100_000, description="dimensions of the null space at most")
    protect_earlier: bool = Field(
        True, description="with several concepts: count the keys of those edited before (C_prev); needs projection"
    )
    values: Values = Field("unet", description="V1 refined through the UNet, or W K1* of the target prompts ('naive')")
    learning_rate: float = Field(0.2, gt=0.0, le=100.0, description="Adam's learning rate for V1")
    inner_steps: int = Field(6, ge=1, le=1000, description="Adam steps for V1 of one layer")
    t_min: int = Field(10, ge=0, le=999, description="smallest timestep of the noisy latents")
    t_max: int = Field(50, ge=0, le=999, description="largest timestep of the noisy latents, included")
    latents: Latents = Field(
        "fresh", description="latents of the edit prompts: new ones for every edit, or one of each pair for all edits"
    )
    latent_steps: int = Field(10, ge=1, le=1000, description="LMS steps that make the latents of the edit prompts")
    retain_latents: int = Field(
        64, ge=1, le=100_000, description="matrices = 'ffn': retain prompts at most whose latents K0 is collected from"
    )
    guidance: float = Field(7.5, ge=0.0, le=50.0, description="guidance scale of the latents")

    @model_validator(mode="after")
    def _ranges(self) -> AlphaEditParams:
        if self.t_min > self.t_max:
            raise ValueError("t_min is above t_max")
        if self.max_dim is not None and self.max_dim < self.min_dim:
            raise ValueError("max_dim is below min_dim")
        if self.layers is not None and (not self.layers or len(set(self.layers)) != len(self.layers)):
            raise ValueError("layers needs at least one layer, each once")
        if self.layers is not None and self.matrices != "text":
            raise ValueError("layers numbers those of the text encoder: it needs matrices = 'text'")
        return self
