"""The parameters of the evaluator `llava`; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from unlearnbench.api import Params, Thresholds, left_out
from unlearnbench_llava.questions import NAMED, has_one_place


class LlavaParams(Params):
    """Parameters of the yes-or-no judge."""

    model: str = Field(
        "auto", description="shipped judge, folder or hub id of LLaVA-1.5; auto = emoji-judge-llava", min_length=1
    )
    revision: str | None = Field(None, description="git revision of a hub id")
    question: Annotated[str, AfterValidator(has_one_place)] = Field(
        "show",
        description="show = one form for all kinds; kind = a form by concept kind; "
        "or a text with {description}, {display} or {concept}",
    )
    opposite: bool = Field(
        False, description="ask the opposite question too and average, against a judge that tends to say yes"
    )
    parser: Literal["logits", "text", "tail"] = Field(
        "logits",
        description="logits of yes and no; or text: the first yes or no; or tail: yes in the last five characters",
    )
    threshold: float = Field(0.5, gt=0.0, lt=1.0, description="probability from which on the answer is yes")
    thresholds: Thresholds = Field(
        default_factory=dict,
        exclude_if=left_out,
        description="thresholds of single concepts, or the path of a JSON file of them, as `calibrate` writes it",
    )
    off_set_limit: float = Field(
        0.5, gt=0.0, le=1.0, description="logits: probability of other words than yes and no above which it is unscored"
    )
    tokens: int = Field(5, ge=1, le=256, description="text and tail: tokens of an answer at most")
    dtype: Literal["float32", "float16", "bfloat16"] = Field("float32", description="arithmetic of the judge")
    batch_size: int = Field(16, ge=1, le=1024, description="images a forward pass; no score depends on it")

    @model_validator(mode="after")
    def _an_opposite_can_be_averaged(self) -> LlavaParams:
        if self.opposite and (self.question not in NAMED or self.parser != "logits"):
            raise ValueError("opposite needs the question show or kind, and the parser logits")
        return self
