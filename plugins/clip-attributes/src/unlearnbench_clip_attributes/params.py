"""The parameters of the evaluator `clip-attributes`; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from pydantic import Field

from unlearnbench_clip.params import ClipParams


class AttributesParams(ClipParams):
    """Parameters of the judge of attributes: those of `clip`, and when an attribute counts."""

    certainty: float = Field(
        0.0, ge=0.0, le=1.0, description="least share of the most probable attribute; below it none is seen"
    )
    concept_first: bool = Field(
        True, description="see an attribute only in images that show the concept; false: in every image"
    )
