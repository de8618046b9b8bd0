"""The generator and the judges under test, used as a run of the benchmark uses them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unlearnbench.api import Sample
from unlearnbench.model import load_model
from unlearnbench.plugins import load_plugins
from unlearnbench.run.request import make_question
from unlearnbench.run.session import Session
from unlearnbench.sampling import sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from unlearnbench.api import Concept, ConceptDataset, Task
    from unlearnbench.model import Model
    from unlearnbench.spec import SamplerSpec

BATCH = 20


@dataclass(frozen=True)
class JudgeContext:
    """What an evaluator is lent (`api.EvaluatorContext`)."""

    device: torch.device
    log: logging.Logger


@dataclass(frozen=True)
class Answers:
    """What a judge said of n images for one question.

    `yes`: bool [n]; False for an unscored image. `named`: the class the judge saw, [n] strings. `unscored`: how many
    images got no answer. `attribute`: which attribute it saw, [n] strings; '' = none. `distance`: to the nearest
    training image, float64 [n]; NaN = not asked.
    """

    yes: NDArray[np.bool_]
    named: NDArray[np.str_]
    unscored: int
    attribute: NDArray[np.str_]
    distance: NDArray[np.float64]


def share(said: NDArray[np.bool_]) -> float:
    """Return the share of True; NaN of nothing."""
    return float(said.mean()) if said.size else float("nan")


class Judge:
    """An evaluator of the registry with its own defaults.

    Args:
        name: of the evaluator.
        dataset: whose concepts it is asked about.
        task: of the suite: "debias" asks for attributes, "data" for training images.
        model: folder or name of its weights; None = the evaluator's default.
    """

    def __init__(
        self, name: str, dataset: ConceptDataset, task: Task = "erase", model: str | Path | None = None
    ) -> None:
        entry = load_plugins().evaluators.get(name)
        self.name, self.dataset, self.task = name, dataset, task
        params = entry.load_params()(**({} if model is None else {"model": str(model)}))
        self._evaluator: Any = entry.load()(params)
        self._evaluator.setup(JudgeContext(torch.device("cpu"), logging.getLogger("unlearnbench.gates")))

    def ask(self, images: Sequence[Image.Image], concept: Concept) -> Answers:
        """Ask whether each image shows a concept."""
        samples = [Sample(str(number), image, "") for number, image in enumerate(images)]
        scores = self._evaluator.score(samples, make_question(self.dataset, concept, self.task))
        return Answers(
            np.array([score.label is True for score in scores], dtype=np.bool_),
            np.array([score.answer for score in scores], dtype=np.str_),
            sum(score.label is None for score in scores),
            np.array([score.attribute for score in scores], dtype=np.str_),
            np.array([np.nan if score.distance is None else score.distance for score in scores]),
        )


@dataclass
class Generator:
    """The unedited model with a suite's sampler; counts the seconds it takes."""

    model: Model
    sampler: SamplerSpec
    seconds: float = 0.0
    images: int = field(default=0)

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        """Return the images of a run for these prompts: all seeds of the first, then of the second ..."""
        begin = time.perf_counter()
        drawn = sample(self.model, prompts, seeds, self.sampler, batch_size=BATCH)
        self.seconds += time.perf_counter() - begin
        self.images += len(drawn)
        return drawn


def open_suite(name: str, model: str | None) -> Session:
    """Return a suite that the gates stand for, with its model or another one (folder or name).

    Raises:
        UserError: the model is unknown.
    """
    return Session.open(load_plugins(), name, model=model)


def open_generator(session: Session) -> tuple[Generator, float, float]:
    """Load the model of a suite; return it, the seconds that took, and the seconds of the first time in a process.

    The first time, libraries are imported; what the weights take is what the second time takes.
    """
    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        loaded = load_model(session.suite.model, session.folder)
        seconds.append(time.perf_counter() - begin)
    return Generator(loaded, session.suite.sampler), seconds[1], seconds[0]
