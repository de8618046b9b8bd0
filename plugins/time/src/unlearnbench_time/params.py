"""The parameters of TIME; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from unlearnbench.api import Params

EditWith = Literal["name", "pairs"]
Alignment = Literal["replacement", "subsequence"]


class TIMEParams(Params):
    """Parameters of TIME."""

    edit_with: EditWith = Field("name", description="source: the concept's name, or each of its edit prompts ('pairs')")
    destination: str = Field(
        "target",
        max_length=400,
        description="'target' = the request's target; other words replace it, {} in them stands for the source",
    )
    alignment: Alignment = Field(
        "replacement",
        description="what a source that is no subsequence of its destination gets: its replaced words are aligned "
        "from their last token on, or it is refused as in the paper's code ('subsequence')",
    )
    augment: bool = Field(False, description="edit with the prompts inside three contexts as well")
    keys: bool = Field(True, description="edit the key matrices too, not the value matrices alone")
    lamb: float = Field(0.1, gt=0.0, le=1e6, description="λ, weight of staying near the old matrix")
