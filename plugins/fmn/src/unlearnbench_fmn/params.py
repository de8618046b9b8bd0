"""The parameters of Forget-Me-Not; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from unlearnbench.api import Params
from unlearnbench_fmn.folder import folder_digest

TrainMethod = Literal["full", "cross-attn"]
EditWith = Literal["template", "pairs"]
EOS = Literal["first", "all", "none"]
Loss = Literal["squared", "norm"]


class FMNParams(Params):
    """Parameters of Forget-Me-Not; the defaults are those of the paper and its code."""

    train_method: TrainMethod = Field(
        "full", description="what is trained: the 'full' UNet, or the layers of its cross-attention ('cross-attn')"
    )
    edit_with: EditWith = Field(
        "template",
        description="prompts whose attention is steered: one that shows the concept, or its edit prompts ('pairs')",
    )
    eos: EOS = Field(
        "first",
        description="EOS positions that attention is steered away from beside the concept's; 'all' takes the padding "
        "of Stable Diffusion 1.x along",
    )
    loss: Loss = Field(
        "squared", description="sum of the squared probabilities (paper), or the square root of it ('norm', the code)"
    )
    iterations: int = Field(35, ge=1, le=1_000_000, description="steps of AdamW")
    batch: int = Field(1, ge=1, le=1024, description="noisy latents of one step")
    learning_rate: float = Field(2e-6, gt=0.0, le=1.0, description="AdamW's learning rate")
    weight_decay: float = Field(1e-2, ge=0.0, le=1.0, description="AdamW's weight decay")
    max_gradient_norm: float = Field(1.0, gt=0.0, le=1e6, description="norm that gradients are clipped to")
    reference_images: str | None = Field(
        None,
        description="folder with one folder of reference images for each concept, named by the concept's id; none = "
        "the base model makes them",
    )
    reference_digest: str | None = Field(
        None,
        validate_default=True,
        description="digest of the reference images given, by which an edit's key knows them; found, need not be given",
    )
    images: int = Field(10, ge=1, le=100_000, description="reference images of each concept that the base model makes")
    image_steps: int = Field(25, ge=1, le=1000, description="DPM-Solver++ steps of such an image")
    image_guidance: float = Field(7.5, ge=0.0, le=50.0, description="guidance scale of such images")
    inversion: bool = Field(
        False, description="learn tokens that show the concept (textual inversion) and steer away from these"
    )
    inversion_tokens: int = Field(4, ge=1, le=32, description="number of such tokens")
    inversion_iterations: int = Field(500, ge=1, le=1_000_000, description="steps of AdamW that learn them")
    inversion_learning_rate: float = Field(1e-3, gt=0.0, le=1.0, description="AdamW's learning rate for them")
    inversion_warmup: int = Field(100, ge=1, le=1_000_000, description="steps in which that rate rises to its value")
    inversion_weight_decay: float = Field(0.1, ge=0.0, le=1.0, description="AdamW's weight decay for them")
    inversion_norm: float = Field(0.4, gt=0.0, le=1000.0, description="norm that each of them is drawn towards")

    @field_validator("reference_images")
    @classmethod
    def _holds_images(cls, folder: str | None) -> str | None:
        if folder is not None:
            folder_digest(Path(folder))
        return folder

    @field_validator("reference_digest")
    @classmethod
    def _is_of_the_images(cls, given: str | None, others: ValidationInfo) -> str | None:
        folder = others.data.get("reference_images")
        found = None if folder is None else folder_digest(Path(folder))
        if given not in (None, found):
            raise ValueError("the reference images are others than those of this digest; leave it out")
        return found
