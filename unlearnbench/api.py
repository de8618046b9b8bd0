"""All that the author of a plugin imports: specs, protocols and the data that passes between harness and plugin.

This module is light: importing it loads pydantic and nothing heavier. Heavy types appear in annotations only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeVar

import pluggy
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from unlearnbench.hookspecs import DatasetSpec as DatasetSpec
from unlearnbench.hookspecs import EvaluatorSpec as EvaluatorSpec
from unlearnbench.hookspecs import MethodSpec as MethodSpec
from unlearnbench.hookspecs import ModelSource as ModelSource
from unlearnbench.hookspecs import SuiteSource as SuiteSource

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import torch
    from PIL import Image

    from unlearnbench.model import Model

hookimpl = pluggy.HookimplMarker("unlearnbench")

ConceptKind = Literal["object", "style", "scene", "action"]
PromptKind = Literal["direct", "indirect", "adversarial", "general"]
Task = Literal["erase"]
T = TypeVar("T")


class Frozen(BaseModel):
    """Immutable data that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Params(Frozen):
    """Base class of the parameters of a method or an evaluator: every field typed, bounded and described."""


P = TypeVar("P", bound=Params)

# ---------------------------------------------------------------- concepts and prompts
ConceptId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Target(Frozen):
    """The concept that an erased concept is mapped to (the anchor of UCE and Concept Ablation)."""

    id: ConceptId = Field(description="identifier; need not be an evaluated concept")
    display: Text = Field(description="the words a prompt uses for it")


class EditPair(Frozen):
    """Two prompts that differ only in the concept phrase."""

    prompt: Text = Field(description="a prompt that names or evokes the concept")
    target: Text = Field(description="the same context with the target in its place")


class EvaluationPrompts(Frozen):
    """The prompts that a concept is evaluated on; no method ever sees them."""

    direct: tuple[Text, ...] = Field(min_length=1, description="prompts that name the concept")
    indirect: tuple[Text, ...] = Field(default=(), description="prompts that evoke it without its name or alias")
    target_direct: tuple[Text, ...] = Field(description="direct[i] with the target in place of the concept")
    target_indirect: tuple[Text, ...] = Field(default=(), description="the counterpart of indirect[i]")


class Concept(Frozen):
    """One concept of a data set: its words, its prompts and its place among the other concepts."""

    id: ConceptId
    kind: ConceptKind
    display: Text
    aliases: tuple[Text, ...] = ()
    description: Text = Field(description="for judges: 'Does this image show {description}?'")
    target: Target
    neighbours: tuple[ConceptId, ...] = ()
    overlaps: tuple[ConceptId, ...] = Field(default=(), description="concepts left out of this one's retain set")
    prompts: EvaluationPrompts
    edit: tuple[EditPair, ...] = ()


class Prompt(Frozen):
    """One evaluation prompt."""

    id: str = Field(description="'<concept>/<kind>/<number>'")
    concept: ConceptId
    kind: PromptKind
    text: str
    target_text: str = Field(description="the same prompt with the target in place of the concept")


class ConceptDataset(ABC):
    """A data set of concepts; made by a data set plugin."""

    @property
    @abstractmethod
    def concepts(self) -> Mapping[str, Concept]:
        """Return the concepts by id, in a stable order."""

    @abstractmethod
    def classes(self, kind: ConceptKind) -> Mapping[str, str]:
        """Return what a classifier chooses from for one kind of concept: class id -> words, concepts included."""

    def prompts(self, concept: str) -> tuple[Prompt, ...]:
        """Return the evaluation prompts of one concept, direct ones first.

        Raises:
            KeyError: the data set has no such concept.
        """
        c = self.concepts[concept]
        rows: list[Prompt] = []
        kinds: tuple[tuple[PromptKind, tuple[str, ...], tuple[str, ...]], ...] = (
            ("direct", c.prompts.direct, c.prompts.target_direct),
            ("indirect", c.prompts.indirect, c.prompts.target_indirect),
        )
        for kind, texts, targets in kinds:
            rows += [
                Prompt(id=f"{concept}/{kind}/{i}", concept=concept, kind=kind, text=text, target_text=target)
                for i, (text, target) in enumerate(zip(texts, targets, strict=True), 1)
            ]
        return tuple(rows)


# ---------------------------------------------------------------- what a method is asked to do
class ForgetConcept(Frozen):
    """A concept to forget, as a method sees it: names and edit-target pairs, never an evaluation prompt."""

    id: ConceptId
    kind: ConceptKind
    name: str
    aliases: tuple[str, ...] = ()
    target: str = Field(description="the words for the concept that takes its place; '' is the empty prompt")
    pairs: tuple[EditPair, ...] = ()


class Request(Frozen):
    """One edit: what to forget and what to retain."""

    task: Task = "erase"
    forget: tuple[ForgetConcept, ...] = Field(min_length=1)
    retain: tuple[str, ...] = Field(default=(), description="retain prompts: the edit prompts of the other concepts")
    retain_names: tuple[str, ...] = Field(default=(), description="the names of the other concepts")


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
    """An unlearning method: it changes a model, and nothing else."""

    params_type: ClassVar[type[Params]]

    def __init__(self, params: P) -> None:
        self.params = params

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Return None if the edit is possible, else the reason, which the board shows as 'skipped'."""
        return None

    @abstractmethod
    def edit(self, model: Model, request: Request, ctx: EditContext) -> Sampling | None:
        """Change the weights of `model` in place; return sampling data if the method acts at inference."""


# ---------------------------------------------------------------- evaluators
class Question(Frozen):
    """What a judge is asked about an image.

    `classes` are the alternatives of the same kind (id -> words), the concept and its target included.
    """

    concept: ConceptId
    kind: ConceptKind
    display: str
    description: str
    target: Target
    classes: dict[str, str]


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
