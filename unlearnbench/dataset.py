"""Data sets: concepts with their words and prompts, and images. Authors of plugins import all of it from `api`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unlearnbench.images import DataImage

ConceptKind = Literal["object", "style", "scene", "action"]
PromptKind = Literal["direct", "indirect", "adversarial", "general"]
ImageSplit = Literal["train", "heldout", "calibration"]
ConceptId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Frozen(BaseModel):
    """Immutable data that refuses unknown fields."""

    # Validators are built when they are first used: commands that list what is installed use few of them.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Target(Frozen):
    """The concept that an erased concept is mapped to (the anchor of UCE and Concept Ablation)."""

    id: ConceptId = Field(description="identifier; need not be an evaluated concept")
    display: Text = Field(description="the words a prompt uses for it")


class EditPair(Frozen):
    """Two prompts that differ only in the concept phrase."""

    prompt: Text = Field(description="a prompt that names or evokes the concept")
    target: Text = Field(description="the same context with the target in its place")


def left_out(value: Any) -> bool:
    """Tell whether a field that is younger than the first keys is unset; then it is in none."""
    return not value


class EvaluationPrompts(Frozen):
    """The prompts that a concept is evaluated on; no method ever sees them."""

    direct: tuple[Text, ...] = Field(min_length=1, description="prompts that name the concept")
    indirect: tuple[Text, ...] = Field(default=(), description="prompts that evoke it without its name or alias")
    target_direct: tuple[Text, ...] = Field(description="direct[i] with the target in place of the concept")
    target_indirect: tuple[Text, ...] = Field(default=(), description="the counterpart of indirect[i]")
    adversarial: tuple[Text, ...] = Field(
        default=(), exclude_if=left_out, description="prompts that were made to bring the concept back: an attack's"
    )
    target_adversarial: tuple[Text, ...] = Field(
        default=(), exclude_if=left_out, description="what the target is asked for with in place of adversarial[i]"
    )


class Attribute(Frozen):
    """One of the attributes that debiasing balances within a concept."""

    id: ConceptId
    display: Text = Field(description="the words for the attribute alone, which an attribute judge chooses from")
    prompt: Text = Field(description="the concept with this attribute")
    desired: float = Field(ge=0.0, le=1.0, description="share of images that should show it when none is asked for")


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
    held_out: bool = Field(
        default=False, exclude_if=left_out, description="no method is told of it: what survives unprotected"
    )
    attributes: tuple[Attribute, ...] = Field(
        default=(), exclude_if=left_out, description="what debiasing balances: two or more, or none"
    )

    @model_validator(mode="after")
    def _attributes_are_balanced(self) -> Concept:
        total = sum(attribute.desired for attribute in self.attributes)
        if self.attributes and (len(self.attributes) < 2 or abs(total - 1.0) > 1e-6):
            raise ValueError("attributes: two or more, with desired shares that sum to 1")
        return self


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
        """Return the evaluation prompts of one concept: direct, indirect, adversarial ones.

        Raises:
            KeyError: the data set has no such concept.
        """
        c = self.concepts[concept]
        rows: list[Prompt] = []
        kinds: tuple[tuple[PromptKind, tuple[str, ...], tuple[str, ...]], ...] = (
            ("direct", c.prompts.direct, c.prompts.target_direct),
            ("indirect", c.prompts.indirect, c.prompts.target_indirect),
            ("adversarial", c.prompts.adversarial, c.prompts.target_adversarial),
        )
        for kind, texts, targets in kinds:
            rows += [
                Prompt(id=f"{concept}/{kind}/{i}", concept=concept, kind=kind, text=text, target_text=target)
                for i, (text, target) in enumerate(zip(texts, targets, strict=True), 1)
            ]
        return tuple(rows)

    def images(self, split: ImageSplit) -> Sequence[DataImage]:
        """Return images with their captions, in a stable order; none, unless the data set has some.

        Args:
            split: "train": what the model was trained on, or a sample of it. An image that names a concept is forgotten
                with that concept, and all others are retained. "heldout": images like them that it never saw.
                "calibration": images whose `shows` is known, to measure judges on; neither model nor judge saw them.
        """
        return ()
