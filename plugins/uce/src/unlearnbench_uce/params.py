"""The parameters of UCE; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from unlearnbench.api import Params

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unlearnbench.api import Request

Preset = Literal["uce-2025", "uce-2023"]
EditWith = Literal["name", "pairs"]
EditTokens = Literal["last", "suffix", "all"]
PreserveTokens = Literal["last", "all"]
EmptyAnchor = Literal["bos", "first_eos"]
Retain = Literal["none", "names", "prompts"]
Technique = Literal["replace", "tensor"]
AttributeScale = Literal["raw", "unit"]


class UCEParams(Params):
    """Parameters of UCE; what is left unset follows the preset."""

    preset: Preset = Field("uce-2025", description="which of the authors' two codes the unset parameters follow")
    edit_with: EditWith = Field("name", description="map the concept's name, or its edit prompts ('pairs')")
    aliases: bool = Field(False, description="map the concept's aliases as well (edit_with = 'name')")
    expand_prompts: bool = Field(False, description="map the names inside templates as well (edit_with = 'name')")
    guide: str | None = Field(
        None, description="'target' = the request's target; other words, or '', replace it; none = the task's rule"
    )
    empty_anchor: EmptyAnchor = Field("bos", description="the token that stands for an empty guide")
    edit_tokens: EditTokens | None = Field(None, description="token columns that are mapped; none = the preset's")
    technique: Technique = Field("replace", description="v* = W c*, or v* = W c* without its part along W c ('tensor')")
    retain: Retain | None = Field(None, description="what is preserved besides; none = the preset's")
    preserve_tokens: PreserveTokens | None = Field(None, description="preserved token columns; none = the preset's")
    erase_scale: float = Field(1.0, gt=0.0, le=1e6, description="w_e, weight of every edited column")
    preserve_scale: float | None = Field(None, gt=0.0, le=1e6, description="w_p; none = the preset's rule")
    lamb: float = Field(0.5, gt=0.0, le=1e6, description="λ, weight of staying near the old matrix")

    attribute_scale: AttributeScale | None = Field(
        None,
        description="debias: attributes' values as they are, or as long as the concept's ('unit'); none = the preset's",
    )
    eta: float = Field(
        0.1,
        gt=0.0,
        le=100.0,
        description="debias: η, share of the gap that an attribute's weight moves by; the code of 2025 has 1",
    )
    tolerance: float = Field(0.05, gt=0.0, le=1.0, description="debias: greatest gap of a share that is left alone")
    iterations: int = Field(30, ge=1, le=10_000, description="debias: times that images are made, at most")
    images: int = Field(10, ge=1, le=100_000, description="debias: images of a concept and iteration")
    sampling_steps: int = Field(20, ge=1, le=1000, description="debias: denoising steps of these images")
    guidance: float = Field(7.5, ge=0.0, le=50.0, description="debias: guidance scale of these images")
    recheck: bool = Field(True, description="debias: find the shares of balanced concepts anew in every iteration")
    judge: str = Field(
        "auto", min_length=1, description="debias: CLIP model that sees attributes; auto = emoji-judge-clip"
    )
    judge_template: str = Field(
        "a picture of {}", min_length=1, description="debias: text of an attribute; {} = its words"
    )

    @model_validator(mode="after")
    def _names_only(self) -> UCEParams:
        if self.edit_with == "pairs" and (self.aliases or self.expand_prompts):
            raise ValueError("aliases and expand_prompts need edit_with = 'name'")
        return self

    def reads(self, request: Request) -> Mapping[str, str]:
        """Return the digest of the CLIP model that debiasing asks."""
        if request.task != "debias":
            return {}
        from unlearnbench_clip.evaluator import Clip
        from unlearnbench_clip.params import ClipParams

        return {"judge": Clip(ClipParams(model=self.judge)).fingerprint()}
