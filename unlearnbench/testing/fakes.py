"""A data set and a judge that conform and mean nothing, and the parameters of the fake method; light."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from unlearnbench.api import (
    Concept,
    ConceptDataset,
    ConceptKind,
    EditPair,
    EvaluationPrompts,
    Evaluator,
    Params,
    Question,
    Score,
    Target,
)
from unlearnbench.identity import digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL import Image

    from unlearnbench.api import EvaluatorContext, Sample

NAMES = ("alpha", "beta", "gamma", "delta")


class ShiftParams(Params):
    """Parameters of the fake method."""

    amount: float = Field(1.0, ge=0.0, le=10.0, description="how far the weights move, in weight units")


class BrightnessParams(Params):
    """Parameters of the fake judge."""

    threshold: float = Field(0.5, ge=0.0, le=1.0, description="mean brightness from which on the answer is yes")


class Brightness(Evaluator[BrightnessParams]):
    """Say yes to bright images, whatever the question (a fake, https://en.wikipedia.org/wiki/Relative_luminance)."""

    params_type: ClassVar[type[Params]] = BrightnessParams

    def fingerprint(self) -> str:
        """Return a digest; there are no weights."""
        return digest("brightness")

    def setup(self, ctx: EvaluatorContext) -> None:
        """Load nothing."""

    def score(self, samples: Sequence[Sample], question: Question) -> list[Score]:
        """Return the mean brightness of every image, 0 to 1."""
        return [self._score(sample.image, question) for sample in samples]

    def examples(self) -> list[tuple[Question, Image.Image, Image.Image]]:
        """Return one question, a bright image and a dark one."""
        from PIL import Image

        light, dark = Target(id="light", display="light"), Target(id="dark", display="darkness")
        classes = {part.id: part.display for part in (light, dark)}
        question = Question(
            concept="light", kind="object", display="light", description="light", target=dark, classes=classes
        )
        return [(question, Image.new("RGB", (8, 8), "white"), Image.new("RGB", (8, 8), "black"))]

    def _score(self, image: Image.Image, question: Question) -> Score:
        try:
            values = image.convert("L").tobytes()
        except (OSError, SyntaxError, ValueError):  # what Pillow raises for damaged files
            return Score(p_yes=math.nan, label=None)
        p_yes = sum(values) / len(values) / 255
        return Score(p_yes=p_yes, label=p_yes >= self.params.threshold, answer=question.concept)


class Letters(ConceptDataset):
    """Four concepts, each a letter of the Greek alphabet that is mapped to omega."""

    @property
    def concepts(self) -> Mapping[str, Concept]:
        """Return the concepts by id."""
        return {name: _letter(number, name) for number, name in enumerate(NAMES, 1)}

    def classes(self, kind: ConceptKind) -> Mapping[str, str]:
        """Return the letters."""
        return {name: name for name in NAMES}


def _letter(number: int, name: str) -> Concept:
    contexts = ("a big {}", "a red {}")
    return Concept(
        id=name,
        kind="object",
        display=name,
        aliases=(f"{name} letter",),
        description=f"the letter {name}",
        target=Target(id="omega", display="omega"),
        neighbours=(NAMES[number % len(NAMES)],),
        prompts=EvaluationPrompts(
            direct=(f"a drawing of {name}", f"{name} on paper"),
            indirect=(f"letter number {number}",),
            target_direct=("a drawing of omega", "omega on paper"),
            target_indirect=("the last letter",),
        ),
        edit=tuple(EditPair(prompt=c.format(name), target=c.format("omega")) for c in contexts),
    )
