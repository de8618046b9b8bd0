"""The parameters of UCE; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from unlearnbench.api import Params

Preset = Literal["uce-2025", "uce-2023"]
EditWith = Literal["name", "pairs"]
EditTokens = Literal["last", "suffix", "all"]
PreserveTokens = Literal["last", "all"]
EmptyAnchor = Literal["bos", "first_eos"]
Retain = Literal["none", "names", "prompts"]
Technique = Literal["replace", "tensor"]


class UCEParams(Params):
    """Parameters of UCE; what is left unset follows the preset."""

    preset: Preset = Field("uce-2025", description="which of the authors' two codes the unset parameters follow")
    edit_with: EditWith = Field("name", description="map the concept's name, or its edit prompts ('pairs')")
    aliases: bool = Field(False, description="map the concept's aliases as well (edit_with = 'name')")
    expand_prompts: bool = Field(False, description="map the names inside templates as well (edit_with = 'name')")
    guide: str = Field("target", description="'target' = the request's target; other words, or '', replace it")
    empty_anchor: EmptyAnchor = Field("bos", description="the token that stands for an empty guide")
    edit_tokens: EditTokens | None = Field(None, description="token columns that are mapped; none = the preset's")
    technique: Technique = Field("replace", description="v* = W c*, or v* = W c* without its part along W c ('tensor')")
    retain: Retain | None = Field(None, description="what is preserved besides; none = the preset's")
    preserve_tokens: PreserveTokens | None = Field(None, description="preserved token columns; none = the preset's")
    erase_scale: float = Field(1.0, gt=0.0, le=1e6, description="w_e, weight of every edited column")
    preserve_scale: float | None = Field(None, gt=0.0, le=1e6, description="w_p; none = the preset's rule")
    lamb: float = Field(0.5, gt=0.0, le=1e6, description="λ, weight of staying near the old matrix")

    @model_validator(mode="after")
    def _names_only(self) -> UCEParams:
        if self.edit_with == "pairs" and (self.aliases or self.expand_prompts):
            raise ValueError("aliases and expand_prompts need edit_with = 'name'")
        return self
