"""All that the author of a plugin imports: specs, protocols and the data that passes between harness and plugin.

This module is light: importing it loads pydantic and nothing heavier. Heavy types appear in annotations only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import pluggy
from pydantic import Field

from unlearnbench.dataset import Attribute as Attribute
from unlearnbench.dataset import Concept as Concept
from unlearnbench.dataset import ConceptDataset as ConceptDataset
from unlearnbench.dataset import ConceptId as ConceptId
from unlearnbench.dataset import ConceptKind as ConceptKind
from unlearnbench.dataset import EditPair as EditPair
from unlearnbench.dataset import EvaluationPrompts as EvaluationPrompts
from unlearnbench.dataset import Frozen as Frozen
from unlearnbench.dataset import ImageSplit as ImageSplit
from unlearnbench.dataset import Prompt as Prompt
from unlearnbench.dataset import PromptKind as PromptKind
from unlearnbench.dataset import Target as Target
from unlearnbench.dataset import Text as Text
from unlearnbench.dataset import left_out as left_out
from unlearnbench.hookspecs import DatasetSpec as DatasetSpec
from unlearnbench.hookspecs import EvaluatorSpec as EvaluatorSpec
from unlearnbench.hookspecs import MethodSpec as MethodSpec
from unlearnbench.hookspecs import ModelSource as ModelSource
from unlearnbench.hookspecs import SuiteSource as SuiteSource
from unlearnbench.images import DataImage as DataImage
from unlearnbench.thresholds import Thresholds as Thresholds

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import torch
    from PIL import Image

    from unlearnbench.model import Model

hookimpl = pluggy.HookimplMarker("unlearnbench")

SetMetric = Literal[
    "drift_mse", "drift_ssim", "feature_distance", "lpips", "kid", "fid", "clip_score", "diversity", "blank_rate"
]
Task = Literal["erase", "moderate", "debias", "data"]
T = TypeVar("T")


class Params(Frozen):
    """Base class of the parameters of a method or an evaluator: every field typed, bounded and described."""

    def reads(self, request: Request) -> Mapping[str, str]:
        """Return tagged digests, by name, of what a method reads for a request beside model and request: a classifier.

        They enter the edit key. Called while planning, so it must not import torch.
        """
        return {}

    def with_presets(self, presets: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return the parameters in a suite with these presets, by method.

        For a method that runs another one: that one's edit should be the edit that it makes in this suite. A method's
        own preset is in its parameters already. Called while planning, before the key is made.

        Raises:
            UserError: a parameter of the other method is wrong.
        """
        return self


P = TypeVar("P", bound=Params)


# ---------------------------------------------------------------- what a method is asked to do
class ForgetConcept(Frozen):
    """A concept to forget, as a method sees it: names and edit-target pairs, never an evaluation prompt."""

    id: ConceptId
    kind: ConceptKind
    name: str
    aliases: tuple[str, ...] = ()
    target: str = Field(description="the words for the concept that takes its place; '' is the empty prompt")
    pairs: tuple[EditPair, ...] = ()
    attributes: tuple[Attribute, ...] = Field(
        default=(), exclude_if=left_out, description="debias: what shall be balanced within the concept"
    )


class Request(Frozen):
    """One edit: what to forget and what to retain."""

    task: Task = Field(
        "erase",
        description="erase: the target takes the concept's place; moderate: the same for what is harmful; debias: the "
        "concept stays, its attributes get their desired shares; data: training images are forgotten",
    )
    forget: tuple[ForgetConcept, ...] = Field(min_length=1)
    sequence: bool = Field(
        default=False,
        exclude_if=left_out,
        description="forget one concept after the other, in this order; a method sees one step at a time",
    )
    retain: tuple[str, ...] = Field(default=(), description="retain prompts: the edit prompts of the other concepts")
    retain_names: tuple[str, ...] = Field(default=(), description="the names of the other concepts")
    forget_images: tuple[DataImage, ...] = Field(
        default=(), exclude_if=left_out, description="data: the training images to forget"
    )
    retain_images: tuple[DataImage, ...] = Field(
        default=(), exclude_if=left_out, description="data: other training images, or a sample of them"
    )


class ModelInfo(Frozen):
    """What is known of a model without touching its weights."""

    id: str = Field(description="the name, folder or hub id the user gave")
    fingerprint: str = Field(description="tagged digest of all weights and configurations")
    family: str = Field(description="'sd' for Stable Diffusion 1.x and 2.x pipelines")
    prediction: Literal["epsilon", "v_prediction"] = "epsilon"
    text_width: int = Field(description="width of the text embedding")
    text_layers: int = Field(description="number of layers of the text encoder")
    text_positions: int = Field(description="token positions of a prompt, BOS and EOS included")
    latent_size: int = Field(description="height and width of the latents at the default image size")
    parameters: int = Field(description="number of parameters of UNet and text encoder")


class Sampling(Frozen):
    """What a method that acts at inference asks of the harness; stored with the edit."""

    negative_prompt: str | None = Field(default=None, description="replaces the empty unconditional prompt")
    rewrite: dict[str, str] = Field(default_factory=dict, description="phrase -> replacement, whole words")


@dataclass(frozen=True)
class TextEmbedding:
    """Encoded prompts.

    Attributes:
        states: [n, positions, width] last hidden state, after the final layer norm.
        ids: [n, positions] token ids.
        last: [n] index of the last subject token (attention-mask sum - 2; 0, the BOS token, for an empty prompt).
    """

    states: torch.Tensor
    ids: torch.Tensor
    last: torch.Tensor


class EditContext(Protocol):
    """What the harness lends a method for one edit."""

    seed: int
    device: torch.device
    tmp: Path
    log: logging.Logger

    def generator(self, *scope: str | int) -> torch.Generator:
        """Return a new CPU generator seeded by sha256 of the edit's seed and `scope`."""
        ...

    def progress(self, items: Iterable[T], label: str) -> Iterator[T]:
        """Iterate over `items` while the harness shows how far the method is."""
        ...

    def report(self, **values: Any) -> None:
        """Record diagnostics (numbers, lists, strings) with the edit; they never enter a key or a score."""
        ...


class Method(ABC, Generic[P]):
    """An unlearning method: it changes a model, and nothing else.

    Attributes:
        params_type: its parameters.
        tasks: what it can be asked to do; to moderate is to erase what is harmful.
    """

    params_type: ClassVar[type[Params]]
    tasks: ClassVar[tuple[Task, ...]] = ("erase", "moderate")

    def __init__(self, params: P) -> None:
        self.params = params

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Return None if the edit is possible, else the reason, which the board shows as 'skipped'."""
        return None

    def refusal(self, model: ModelInfo, request: Request) -> str | None:
        """Return why the edit is impossible, or None: the task is none of `tasks`, or what `supports` says."""
        if request.task not in self.tasks:
            return f"the task is '{request.task}', and this method does {' and '.join(self.tasks)}"
        return self.supports(model, request)

    @abstractmethod
    def edit(self, model: Model, request: Request, ctx: EditContext) -> Sampling | None:
        """Change the weights of `model` in place; return sampling data if the method acts at inference."""


# ---------------------------------------------------------------- evaluators
class Question(Frozen):
    """What a judge is asked about an image.

    `classes` are the alternatives of the same kind (id -> words), the concept and its target included. `attributes` are
    there if the concept is debiased, `images` and `others` if training images are forgotten.
    """

    concept: ConceptId
    kind: ConceptKind
    display: str
    description: str
    target: Target
    classes: dict[str, str]
    attributes: tuple[Attribute, ...] = Field(
        default=(), exclude_if=left_out, description="which of these does it show? they are balanced in the concept"
    )
    images: tuple[DataImage, ...] = Field(
        default=(), exclude_if=left_out, description="training images that it may reproduce: those of the concept"
    )
    others: tuple[DataImage, ...] = Field(
        default=(), exclude_if=left_out, description="other training images, to compare with"
    )


@dataclass(frozen=True)
class Sample:
    """One image to judge, with the prompt that made it."""

    id: str
    image: Image.Image
    prompt: str


class Score(Frozen):
    """A judge's answer for one image and one question."""

    p_yes: float = Field(description="probability that the image shows the concept; NaN = unscored, and counted")
    label: bool | None = Field(description="the judge's decision; None = unscored")
    answer: str = Field(default="", description="what the judge saw: the class, the text")
    attribute: str = Field(default="", description="which of the question's attributes it saw; '' = none, or not asked")
    distance: float | None = Field(
        default=None, ge=0.0, description="how far it is from the nearest of the question's `images`; None = not asked"
    )


class EvaluatorContext(Protocol):
    """What the harness lends an evaluator."""

    device: torch.device
    log: logging.Logger


class Evaluator(ABC, Generic[P]):
    """A judge: it looks at images one by one and never at the model that made them."""

    params_type: ClassVar[type[Params]]

    def __init__(self, params: P) -> None:
        self.params = params

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a tagged digest of the judge's weights and configuration, without loading them.

        It enters every score key. Called while planning, so it must not import torch.
        """

    @abstractmethod
    def setup(self, ctx: EvaluatorContext) -> None:
        """Load the weights; called once, before the first batch."""

    @abstractmethod
    def score(self, samples: Sequence[Sample], question: Question) -> list[Score]:
        """Answer `question` for every sample, in order; an unreadable image gets p_yes = NaN and label None."""


class SetScore(Frozen):
    """What a set evaluator found: values of single images, and values that only a set of images has."""

    images: dict[SetMetric, tuple[float, ...]] = Field(
        default_factory=dict, description="one value an image, in order; NaN = unscored, and counted"
    )
    whole: dict[SetMetric, float] = Field(
        default_factory=dict, description="one value of all images together; NaN = there is none"
    )


class SetEvaluator(ABC, Generic[P]):
    """Compares the images of one concept by an edited model with those of the unedited one, seed for seed."""

    params_type: ClassVar[type[Params]]

    def __init__(self, params: P) -> None:
        self.params = params

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a tagged digest of weights and configuration, as that of an `Evaluator`."""

    @abstractmethod
    def setup(self, ctx: EvaluatorContext) -> None:
        """Load the weights; called once, before the first set."""

    @abstractmethod
    def score_set(self, edited: Sequence[Sample], reference: Sequence[Sample], question: Question) -> SetScore:
        """Compare images of one concept.

        Args:
            edited: images of the edited model.
            reference: of the unedited model: image i started from the same noise as `edited[i]`.
            question: the concept that the prompts are of.

        Returns:
            Values by metric; the metrics are the same for every set. An image that cannot be read, or whose partner
            cannot, is NaN and in no value of the whole.
        """
