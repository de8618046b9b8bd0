"""Settings of the training scripts, read from `config.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from unlearnbench.errors import UserError

if TYPE_CHECKING:
    from unlearnbench_emojiworld.world import World

DEFAULT = Path(__file__).parent / "config.yaml"
RETRAIN = Path(__file__).parent / "retrain.yaml"
UNET_ALONE = Path(__file__).parent / "unet.yaml"
Arithmetic = Literal["auto", "float32", "bfloat16"]
StageName = Literal[
    "data", "tokenizer", "text", "vae", "cache", "decoder", "judge", "refine", "unet", "llava", "export"
]  # fmt: skip
Startable = Literal["text", "vae", "judge", "unet"]


class Settings(BaseModel):
    """Common to all settings: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(Settings):
    """How many pictures are drawn and captioned."""

    renders: int = Field(ge=1, description="training pictures")
    heldout: int = Field(ge=1, description="held-out pictures")
    planted: int = Field(ge=0, description="copies of planted pictures, all of them together")
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
    perceptual_weight: float = Field(ge=0, description="weight of the distance seen by the conditioning pair; 0: none")


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
    classification_share: float = Field(ge=0, le=1, description="first share of training, when nothing is asked yet")
    classification_weight: float = Field(ge=0, description="weight of the loss of classification")


class UnetSettings(Optimisation):
    """Noise predictor."""

    channels: tuple[int, int, int] = Field(description="channels of each level")
    heads: int = Field(ge=1, description="attention heads")
    ema: float = Field(ge=0, lt=1, description="decay of the averaged weights")
    empty_share: float = Field(ge=0, le=1, description="share of captions replaced by the empty caption")
    snr_limit: float = Field(gt=0, description="loss weight is min(snr, this) / snr (Hang et al. 2023, equation 6)")
    grid_minutes: float = Field(gt=0, description="training time between two grids of samples")


class Start(Settings):
    """What is done with the weights that `--from` names; without it every stage starts afresh."""

    taken: tuple[Literal["tokenizer", "vae", "text"], ...] = Field(
        (), description="stages whose result is copied and not trained; text, if it never saw what is left out"
    )
    warm: dict[Startable, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict,
        description="stages that start from these weights, if they never saw what is left out, with their learning "
        "rate as a share of a fresh start's",
    )


class TrainConfig(Settings):
    """All settings of one set of weights."""

    seed: int = Field(ge=0, description="seed of everything random")
    arithmetic: Arithmetic = Field("float32", description="of matrix products; auto: what is faster on this machine")
    without: tuple[str, ...] = Field((), description="concepts whose captions and pictures are left out")
    start: Start = Field(Start(), description="use of weights that are there already")
    minutes: dict[StageName, float] = Field(
        default_factory=dict, description="stages in this order, with the training time of each; all others are not run"
    )
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
        """Read a settings file; what it leaves out is that of the file beside it which it `extends`.

        Raises UserError when it is missing.
        """
        if not path.exists():
            raise UserError(f"there is no settings file {path}", "leave out --config to use the shipped settings")
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "extends" in raw:
            base = cls.load(path.parent / raw.pop("extends"))
            raw = {**base.model_dump(mode="json"), **raw}
        return cls.model_validate(raw)

    def save(self, path: Path) -> None:
        """Write a settings file."""
        path.write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False), encoding="utf-8")

    def world(self) -> World:
        """Return the world that is trained on: the shipped one without what is left out.

        Raises:
            UserError: a concept that is left out is unknown.
        """
        from unlearnbench_emojiworld.world import World

        world = World.load()
        for concept in self.without:
            world = world.without(concept)
        return world
