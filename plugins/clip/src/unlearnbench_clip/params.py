"""The parameters of the evaluator `clip`; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from unlearnbench.api import Params, Thresholds, left_out


def _has_place(template: str) -> str:
    if template.count("{}") != 1 or template.replace("{}", "").strip("{}") != template.replace("{}", ""):
        raise ValueError("needs exactly one {} where the words of a class go")
    return template


class ClipParams(Params):
    """Parameters of the zero-shot classifier."""

    model: str = Field("auto", description="shipped judge, folder or hub id; auto = emoji-judge-clip", min_length=1)
    revision: str | None = Field(None, description="git revision of a hub id")
    template: Annotated[str, AfterValidator(_has_place)] = Field(
        "a picture of {}", description="the text of a class; {} stands for its words"
    )
    threshold: float = Field(0.5, gt=0.0, lt=1.0, description="probability from which on the answer is yes")
    thresholds: Thresholds = Field(
        default_factory=dict,
        exclude_if=left_out,
        description="thresholds of single concepts, or the path of a JSON file of them, as `calibrate` writes it",
    )
    batch_size: int = Field(64, ge=1, le=4096, description="images a forward pass; no score depends on it")
