"""The parameters of the set evaluator `drift`; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from unlearnbench.api import Params

Extra = Literal["lpips", "fid"]


class DriftParams(Params):
    """Parameters of the comparison with the unedited model."""

    model: str = Field(
        "auto",
        description="CLIP model of the features: shipped, folder or hub id; auto = emoji-judge-clip",
        min_length=1,
    )
    revision: str | None = Field(None, description="git revision of a hub id")
    blank: float = Field(
        0.02, ge=0.0, le=0.5, description="an image is blank if no channel's standard deviation is above this, of 1"
    )
    extras: tuple[Extra, ...] = Field(
        (), description="further metrics, each with weights of its own and a package to install: lpips, fid"
    )
    batch_size: int = Field(64, ge=1, le=4096, description="images a forward pass; no value depends on it")
