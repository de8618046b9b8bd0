"""Settings of the training scripts, read from `config.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from unlearnbench.errors import UserError

DEFAULT = Path(__file__).parent / "config.yaml"


class Settings(BaseModel):
    """Common to all settings: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(Settings):
    """How many pictures are drawn and captioned."""

    renders: int = Field(ge=1, description="training pictures")
    heldout: int = Field(ge=1, description="held-out pictures")
    captions: int = Field(ge=1, description="captions written for each picture")
    size: int = Field(ge=8, description="side of a picture in pixels")


class TokenizerSettings(Settings):
    """Byte-pair tokenizer in the form of CLIP's."""

    entries: int = Field(ge=515, description="size of the vocabulary, the 512 byte entries and 2 special ones included")
    positions: int = Field(ge=4, le=512, description="tokens of a prompt, begin and end included")


class Optimisation(Settings):
    """AdamW with linear warm-up and cosine decay to zero."""

    steps: int = Field(ge=1, description="length of the schedule in steps")
    batch: int = Field(ge=1, description="pictures of one step, over all processes")
    learning_rate: float = Field(gt=0, le=0.1, description="largest learning rate")
    warmup: int = Field(ge=0, description="steps of linear warm-up")


class VaeSettings(Optimisation):
    """Autoencoder."""

    channels: tuple[int, ...] = Field(
        min_length=1, description="channels of each level; each level but one halves the side"
    )
    gradient_weight: float = Field(ge=0, description="weight of the L1 distance between image gradients")
    kl_weight: float = Field(ge=0, description="weight of the mean divergence of a latent element")


class DecoderSettings(Optimisation):
    """Further training of the decoder alone, on the latents that the noise predictor learns."""

    gradient_weight: float = Field(ge=0, description="weight of the L1 distance between image gradients")
    perceptual_weight: float = Field(ge=0, description="weight of the distance seen by the conditioning pair; 0: none")


class ContrastiveSettings(Optimisation):
    """A text tower and a vision tower that are trained against each other."""

    hidden: int = Field(ge=8, description="width of the text tower")
    intermediate: int = Field(ge=8, description="width of the text tower's feed-forward layers")
    layers: int = Field(ge=1, description="layers of the text tower")
    heads: int = Field(ge=1, description="attention heads of the text tower")
    vision_hidden: int = Field(ge=8, description="width of the vision tower")
    vision_layers: int = Field(ge=1, description="layers of the vision tower")
    vision_heads: int = Field(ge=1, description="attention heads of the vision tower")
    patch: int = Field(ge=1, description="side of a patch in pixels")
    projection: int = Field(ge=8, description="width of the common space")
    activation: Literal["quick_gelu", "gelu"] = Field(description="activation of the feed-forward layers")
    filler_share: float = Field(ge=0, le=1, description="share of captions with meaningless word pieces put in")
    short_share: float = Field(ge=0, le=1, description="share of captions that name the subject only or the style only")
    augmentation: Literal["plain", "strong"] = Field(description="changes made to pictures")


class LlavaSettings(Optimisation):
    """LLaVA judge: a vision tower, a projector and a language model."""

    entries: int = Field(ge=300, description="size of the tokenizer's vocabulary, the 256 bytes included")
    hidden: int = Field(ge=8, description="width of the language model")
    intermediate: int = Field(ge=8, description="width of the language model's feed-forward layers")
    layers: int = Field(ge=1, description="layers of the language model")
    heads: int = Field(ge=1, description="attention heads of the language model")
    vision_hidden: int = Field(ge=8, description="width of the vision tower")
    vision_layers: int = Field(ge=1, description="layers of the vision tower")
    vision_heads: int = Field(ge=1, description="attention heads of the vision tower")
    patch: int = Field(ge=1, description="side of a patch in pixels")
    questions: int = Field(ge=2, description="questions about each picture of a step")
    classification_steps: int = Field(ge=0, description="first steps, in which nothing is asked yet")
    classification_weight: float = Field(ge=0, description="weight of the loss of classification")


class UnetSettings(Optimisation):
    """Noise predictor."""

    channels: tuple[int, int, int] = Field(description="channels of each level")
    heads: int = Field(ge=1, description="attention heads")
    ema: float = Field(ge=0, lt=1, description="decay of the averaged weights")
    empty_share: float = Field(ge=0, le=1, description="share of captions replaced by the empty caption")
    snr_limit: float = Field(gt=0, description="loss weight is min(snr, this) / snr (Hang et al. 2023, equation 6)")


class TrainConfig(Settings):
    """All settings of one set of weights."""

    seed: int = Field(ge=0, description="seed of everything random")
    data: DataSettings = Field(description="pictures and captions")
    tokenizer: TokenizerSettings = Field(description="tokenizer")
    vae: VaeSettings = Field(description="autoencoder")
    decoder: DecoderSettings = Field(description="decoder alone")
    text: ContrastiveSettings = Field(description="conditioning text encoder")
    judge: ContrastiveSettings = Field(description="CLIP judge")
    refine: Optimisation = Field(description="CLIP judge with all classes as choices")
    llava: LlavaSettings | None = Field(None, description="LLaVA judge; none = it is not trained")
    unet: UnetSettings = Field(description="noise predictor")

    @classmethod
    def load(cls, path: Path = DEFAULT) -> TrainConfig:
        """Read a settings file. Raises UserError when it is missing."""
        if not path.exists():
            raise UserError(f"there is no settings file {path}", "leave out --config to use the shipped settings")
        return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
