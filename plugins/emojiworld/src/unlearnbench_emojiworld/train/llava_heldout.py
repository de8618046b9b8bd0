"""What the LLaVA judge answers about held-out renders."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from unlearnbench_emojiworld.train.vae import to_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from unlearnbench_emojiworld.train.data import Drawn
    from unlearnbench_emojiworld.train.llava_model import Student
    from unlearnbench_emojiworld.train.llava_questions import Questions

AT_ONCE = 16  # questions
PICTURES = 64
THRESHOLD = 0.5


@dataclass(frozen=True)
class Measured:
    """Answers to the question about one class, asked in the first of its texts: a judge's words for a concept.

    sensitivity: share of yes among renders that show the class, NaN if there are none. false_positive: share of yes
    among all others.
    """

    name: str
    asked: str
    sensitivity: float
    false_positive: float


@torch.no_grad()
def measure(
    student: Student, drawn: Drawn, questions: Questions, names: tuple[Sequence[str], Sequence[str]]
) -> list[Measured]:
    """Ask about every subject and every style of every picture of a split. names: of subjects and of styles."""
    student.eval()
    begins = range(0, len(drawn.images), PICTURES)
    features = torch.cat([student.features(to_tensor(drawn.images[i : i + PICTURES])) for i in begins])
    found = []
    for column, about in enumerate(questions.about):
        first = np.array([pool[0] for pool in about.pools])
        parts = [first[i : i + AT_ONCE] for i in range(0, len(first), AT_ONCE)]
        yes = np.concatenate([ask(student, features, questions, rows, column) for rows in parts], 1)
        for index, row in enumerate(first.tolist()):
            shown = np.isin(drawn.labels[:, column], list(about.owners[row]))
            said = yes[:, index]
            sensitivity = float(said[shown].mean()) if shown.any() else math.nan
            found.append(Measured(names[column][index], about.texts[row], sensitivity, float(said[~shown].mean())))
    return found


def ask(
    student: Student, features: Tensor, questions: Questions, rows: NDArray[np.int64], column: int
) -> NDArray[np.bool_]:
    """Return which pictures the judge says yes to for each of some statements, bool [n, statements]."""
    tails, lengths = questions.coded(rows[None], column)
    tails = tails[..., : int(lengths.max())]
    parts = [
        student.p_yes(part, tails.expand(len(part), -1, -1), lengths.expand(len(part), -1)) >= THRESHOLD
        for part in torch.split(features, PICTURES)
    ]
    return torch.cat(parts).numpy()


def report(found: Sequence[Measured], path: Path) -> str:
    """Write the figures of every class, null where there is none, and return a summary."""
    rows = [{k: None if v != v else v for k, v in asdict(one).items()} for one in found]
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    seen = [one for one in found if not math.isnan(one.sensitivity)]
    accuracy = np.mean([0.5 * (one.sensitivity + 1.0 - one.false_positive) for one in seen])
    weakest = min(seen, key=lambda one: one.sensitivity)
    loosest = max(found, key=lambda one: one.false_positive)
    return (
        f"balanced accuracy {accuracy:.4f}; least sensitivity {weakest.sensitivity:.3f} ({weakest.name});"
        f" largest false-positive rate {loosest.false_positive:.4f} ({loosest.name})"
    )
