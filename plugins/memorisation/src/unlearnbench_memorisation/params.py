"""The parameters of the evaluator `memorisation`; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from pydantic import Field

from unlearnbench_clip.params import ClipParams


class MemorisationParams(ClipParams):
    """Parameters of the judge of memorised images: those of `clip`, and when an image is a copy."""

    ratio: float = Field(
        0.5,
        gt=0.0,
        lt=1.0,
        description="a copy is this many times as far from the image as from other images, or nearer",
    )
    neighbours: int = Field(50, ge=1, le=100_000, description="nearest other training images that it is compared with")
    size: int = Field(64, ge=1, le=1024, description="height and width at which pixels are compared")
