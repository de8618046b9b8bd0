"""What judges are asked in their checks: made-up images, a question, and how both reach a judge."""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from unlearnbench.api import Question, Sample, Score, Target
from unlearnbench.leaks import contained

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from PIL import Image

    from unlearnbench.api import Evaluator
    from unlearnbench.checks.subject import Subject

CLASSES = {"dog": "a dog", "bird": "a bird", "apple": "an apple", "house": "a house"}
GENERIC = Question(
    concept="dog",
    kind="object",
    display="a dog",
    description="a dog",
    target=Target(id="bird", display="a bird"),
    classes=CLASSES,
)


@runtime_checkable
class Examples(Protocol):
    """An evaluator that brings images of known content, by which anybody can tell that it judges."""

    def examples(self) -> Sequence[tuple[Question, Image.Image, Image.Image]]:
        """Return questions, each with an image that shows the concept and one that does not; () = none at hand."""
        ...


@dataclass
class Context:
    """What the harness lends an evaluator (`api.EvaluatorContext`)."""

    device: torch.device
    log: logging.Logger


def ready(subject: Subject, *, again: int = 0, fresh: bool = False) -> Evaluator[Any]:
    """Return a judge that is set up.

    Args:
        subject: the evaluator.
        again: number of the instance; each is set up once.
        fresh: make a new one, and put back nothing that it leaves changed.
    """
    if fresh:
        return _set_up(subject)
    return subject.remember(("judge", again), lambda: _contained(subject))


def _contained(subject: Subject) -> Evaluator[Any]:
    with contained():
        return _set_up(subject)


def _set_up(subject: Subject) -> Evaluator[Any]:
    import torch

    judge: Evaluator[Any] = subject.make()
    judge.setup(Context(torch.device("cpu"), logging.getLogger(f"unlearnbench.evaluator.{subject.spec.name}")))
    return judge


def ask(subject: Subject, samples: list[Sample], question: Question | None = None, again: int = 0) -> list[Score]:
    """Ask a judge that is set up; what it leaves changed is put back, and the list of samples stays as it is."""
    judge = ready(subject, again=again)
    with contained():
        return judge.score(list(samples), question or lone_question(subject))


def lone_question(subject: Subject) -> Question:
    """Return a copy of the first question of the judge's examples, else one about dogs."""
    judge = ready(subject)
    given = judge.examples() if isinstance(judge, Examples) else ()
    return (given[0][0] if given else GENERIC).model_copy(deep=True)


def pictures(count: int = 7, images: Sequence[Image.Image] | None = None) -> list[Sample]:
    """Return samples of made-up images, or of the given ones: noise over plain colours, 32 x 32, always the same."""
    import numpy as np
    from PIL import Image

    if images is None:
        random = np.random.default_rng(0)
        colours = random.integers(0, 256, (count, 1, 1, 3)) * np.linspace(0.2, 1.0, count)[:, None, None, None]
        noise = random.integers(-60, 60, (count, 32, 32, 3))
        images = [Image.fromarray(array) for array in (colours + noise).clip(0, 255).astype(np.uint8)]
    return [Sample(f"{number}-0", image.copy(), "a photo of a dog") for number, image in enumerate(images)]


def truncated() -> Sample:
    """Return a sample whose PNG file ends too early; Pillow notices when the pixels are read."""
    from PIL import Image

    stream = io.BytesIO()
    pictures(1)[0].image.save(stream, "png")
    return Sample("damaged", Image.open(io.BytesIO(stream.getvalue()[:200])), "a photo of a dog")


def digests(samples: Sequence[Sample]) -> list[tuple[str, tuple[int, int], str]]:
    """Return mode, size and pixel digest of every image."""
    return [
        (sample.image.mode, sample.image.size, hashlib.sha256(sample.image.tobytes()).hexdigest()) for sample in samples
    ]
