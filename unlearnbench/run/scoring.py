"""The stages that look at images: scores, and comparisons with the unedited model's. They read stored images."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from PIL import Image

from unlearnbench.api import Evaluator, Question, Sample, Score, SetEvaluator
from unlearnbench.discovery import one_line
from unlearnbench.errors import UserError
from unlearnbench.run.stages import INDEX
from unlearnbench.store import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCORES = "scores.json"
COMPARED = "comparison.json"


def run_score(evaluator: Evaluator[Any], question: Question, samples: Path, folder: Path) -> str:
    """Ask the evaluator about every image of a stored sample task and write its answers.

    Returns:
        what it could not be asked: how many images it raised on, and the first reason; '' if it raised on none.

    Raises:
        ValueError: the evaluator returned another number of scores than there are images.
        OSError: the index of the samples cannot be read.
        Exception: what the evaluator raised, if it raised on every image.
    """
    index = json.loads((samples / INDEX).read_text(encoding="utf-8"))["images"]
    batch = [Sample(f"{r['slot']}-{r['seed']}", _open(samples / r["file"]), r["prompt"]) for r in index]
    scores, lost = _ask(evaluator, question, batch)
    rows = []
    for row, score in zip(index, scores, strict=True):
        # JSON knows no NaN: an unscored image is null here, and NaN again in the table.
        p_yes = score.p_yes if math.isfinite(score.p_yes) else None
        label = score.label if p_yes is not None else None
        seen = score.model_dump(include={"attribute", "distance"}, exclude_defaults=True)
        answers = {"p_yes": p_yes, "label": label, "answer": score.answer, **seen}
        rows.append({"slot": row["slot"], "seed": row["seed"], **answers})
    write_json(folder / SCORES, {"scores": rows})
    return f"raised on {len(lost)} of {len(batch)} images, which are unscored: {lost[0]}" if lost else ""


def _ask(evaluator: Evaluator[Any], question: Question, batch: Sequence[Sample]) -> tuple[list[Score], list[str]]:
    """Return the scores of images, and why the evaluator raised on those that are unscored for that.

    If it raises on all at once, it is asked about each image alone, so that one image takes no other's score.
    """
    try:
        scores = evaluator.score(batch, question)
    except UserError:
        raise  # about the evaluator, not about an image
    except Exception:  # a plugin may raise anything
        if len(batch) == 1:
            raise
    else:
        if len(scores) != len(batch):
            raise ValueError(f"the evaluator returned {len(scores)} scores for {len(batch)} images")
        return scores, []
    found: list[Score] = []
    reasons: list[str] = []
    for sample in batch:
        try:
            found += _ask(evaluator, question, [sample])[0]
        except Exception as error:  # as above
            reasons.append(one_line(f"{type(error).__name__}: {error}"))
            if len(reasons) == len(batch):
                raise
            found.append(Score(p_yes=math.nan, label=None, answer=f"failed: {reasons[-1]}"))
    return found, reasons


def run_comparison(
    evaluator: SetEvaluator[Any], question: Question, edited: Path, reference: Path, folder: Path
) -> None:
    """Compare the images of a stored sample task with those of the unedited model, and write what was found.

    Raises:
        ValueError: the two are not paired seed by seed, or a metric has another number of values than there are images.
        OSError: an index of samples cannot be read.
    """
    sets, places = [], []
    for samples in (edited, reference):
        index = json.loads((samples / INDEX).read_text(encoding="utf-8"))["images"]
        places.append([(row["slot"], row["seed"]) for row in index])
        sets.append([Sample(f"{r['slot']}-{r['seed']}", _open(samples / r["file"]), r["prompt"]) for r in index])
    if places[0] != places[1]:
        raise ValueError("the images are not those of the same prompts and seeds as the unedited model's")
    found = evaluator.score_set(sets[0], sets[1], question)
    for name, values in found.images.items():
        if len(values) != len(places[0]):
            raise ValueError(f"the set evaluator returned {len(values)} values of {name} for {len(places[0])} images")
    rows = [
        {"slot": slot, "seed": seed, **{name: _known(values[i]) for name, values in found.images.items()}}
        for i, (slot, seed) in enumerate(places[0])
    ]
    write_json(folder / COMPARED, {"images": rows, "whole": {name: _known(v) for name, v in found.whole.items()}})


def _known(value: float) -> float | None:
    """Return a value as JSON knows it: null if it is not finite."""
    return value if math.isfinite(value) else None


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")
