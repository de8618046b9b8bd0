"""Ask a judge about images of known content, and store what it says."""

from __future__ import annotations

import json
import math
import traceback
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import pandas as pd

from unlearnbench.api import Question, Sample
from unlearnbench.calibration.images import digest_of
from unlearnbench.discovery import Sink, one_line
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.run.machine import load_judge
from unlearnbench.spec import CalibrationTask
from unlearnbench.store import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unlearnbench.calibration.images import Truth
    from unlearnbench.progress import Reporter
    from unlearnbench.run.plan import Judge
    from unlearnbench.store import Store

ANSWERS = "answers.json"
CHUNK = 64  # images in memory at a time


class Asker:
    """A judge, loaded when it is first asked.

    Args:
        judge: the judge.
        store: where its answers are looked up and put.
        device: where it runs.
        reporter: told about progress.
    """

    def __init__(self, judge: Judge, store: Store, device: str, reporter: Reporter) -> None:
        self.judge = judge
        self.store = store
        self.device = device
        self.reporter = reporter
        self._loaded: Any = None

    def ask(
        self, questions: Mapping[str, tuple[Question, Sequence[Truth]]]
    ) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
        """Return the answers for each concept, and why there are none.

        Args:
            questions: concept -> what is asked, and about which images.

        Returns:
            Tables with one row an image (`image`, `truth`, `p_yes`, `label`: 1, 0 or NaN), and reasons of concepts for
            which the judge raised.
        """
        self.store.prepare()
        tables, reasons = {}, {}
        self.reporter.begin("judge", sum(len(truth) for _, truth in questions.values()), "images")
        try:
            for concept, (question, truth) in questions.items():
                try:
                    tables[concept] = self._concept(question, truth)
                except (PrerequisiteError, UserError):
                    raise
                except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything
                    reasons[concept] = one_line(f"{type(error).__name__}: {error}")
                    key = self._task(question, truth).key()
                    file = self.store.record_failure("calibration", key, reasons[concept], traceback.format_exc())
                    self.reporter.note(
                        f"failed: {self.judge.name} {concept}: {reasons[concept]}; its traceback: {file}"
                    )
                self.reporter.advance(len(truth), f"{self.judge.name} {concept}")
            self.reporter.end()
        finally:
            self.reporter.close()
        return tables, reasons

    def _task(self, question: Question, truth: Sequence[Truth]) -> CalibrationTask:
        return CalibrationTask(images=digest_of(truth), **self.judge.asked(question))

    def _concept(self, question: Question, truth: Sequence[Truth]) -> pd.DataFrame:
        key = self._task(question, truth).key()
        if not self.store.has("calibration", key):
            if self._loaded is None:
                self._loaded = load_judge(self.judge, self.device)
            with self.store.create("calibration", key) as folder, redirect_stdout(Sink()):
                if folder is not None:
                    answers = self._answers(question, truth)
                    write_json(folder / ANSWERS, {"concept": question.concept, "answers": answers})
        file = self.store.folder("calibration", key) / ANSWERS
        content = json.loads(file.read_text(encoding="utf-8"))["answers"]
        columns = {name: [row[name] for row in content] for name in ("image", "truth", "p_yes", "label")}
        return pd.DataFrame(columns).astype({"truth": bool, "p_yes": float, "label": float})

    def _answers(self, question: Question, truth: Sequence[Truth]) -> list[dict[str, Any]]:
        rows = []
        for start in range(0, len(truth), CHUNK):
            part = truth[start : start + CHUNK]
            # No prompt: a judge that reads it would be measured on what no edited model tells it.
            samples = [Sample(image.id, image.load(), "") for image, _ in part]
            scores = self._loaded.score(samples, question)
            if len(scores) != len(samples):
                raise ValueError(f"the evaluator returned {len(scores)} scores for {len(samples)} images")
            for (image, shown), score in zip(part, scores, strict=True):
                known = math.isfinite(score.p_yes) and score.label is not None
                rows.append(
                    {
                        "id": image.id,
                        "image": image.digest,
                        "truth": shown,
                        "p_yes": score.p_yes if known else None,
                        "label": score.label if known else None,
                        "answer": score.answer,
                    }
                )
        return rows
