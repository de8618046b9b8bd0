"""Run the tasks of a plan one after another. A failure is an outcome: it blocks its dependants and nothing else."""

from __future__ import annotations

import shutil
import tempfile
import time
import traceback
from collections import defaultdict
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unlearnbench.discovery import Sink, one_line
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.verdict import Verdict, stored_verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from unlearnbench.progress import Reporter
    from unlearnbench.run.machine import Machine
    from unlearnbench.run.plan import Plan
    from unlearnbench.store import Stage, Store

Reuse = Literal["missing", "never", "only"]
Status = Literal["done", "stored", "failed", "skipped", "blocked"]


@dataclass(frozen=True)
class Outcome:
    """How one task went."""

    stage: Stage
    key: str
    status: Status
    reason: str = ""

    @property
    def available(self) -> bool:
        """Tell whether the result of the task is in the store."""
        return self.status in ("done", "stored")


@dataclass
class Run:
    """What a run has done: the outcome of every task by key, the verdicts on edits, and how long sampling took."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    images: int = 0
    sampling_seconds: float = 0.0

    def failed(self) -> list[Outcome]:
        """Return the tasks that failed themselves, not those that they block."""
        return [o for o in self.outcomes.values() if o.status == "failed"]

    def unsound(self, besides: Collection[str] = ()) -> list[Verdict]:
        """Return the verdicts that are not ok, those on some edits left out."""
        return [v for key, v in self.verdicts.items() if v.word != "ok" and key not in besides]


class SerialExecutor:
    """Runs every task in this process, in the order: unedited samples, each edit and its samples, scores.

    Args:
        plan: what to run.
        store: where results are looked up and put.
        machine: the model.
        reporter: told about progress.
        reuse: `missing` makes what the store lacks, `never` makes everything anew, `only` makes nothing.
    """

    def __init__(self, plan: Plan, store: Store, machine: Machine, reporter: Reporter, reuse: Reuse) -> None:
        self.plan = plan
        self.store = store
        self.machine = machine
        self.reporter = reporter
        self.reuse = reuse
        self.run = Run()

    def execute(self) -> Run:
        """Run the plan and return what happened; failures of plugins are recorded, never raised."""
        if self.reuse != "only":
            self.store.prepare()
        by_edit: dict[str | None, list[str]] = defaultdict(list)
        for key, task in self.plan.samples.items():
            by_edit[task.edit].append(key)
        try:
            self._edits()
            self._samples(by_edit)
            self.machine.release()
            self._scores()
            self._comparisons()
        finally:
            self.reporter.close()
        return self.run

    def _wanted(self, stage: Stage, key: str) -> bool:
        """Settle a task that need not run; tell whether it has to."""
        if self.store.has(stage, key) and self.reuse != "never":
            self.run.outcomes[key] = Outcome(stage, key, "stored")
            return False
        if self.reuse == "only":
            self.run.outcomes[key] = Outcome(stage, key, "blocked", "not in the store, and --reuse only makes nothing")
            return False
        return True

    @contextmanager
    def _task(self, stage: Stage, key: str, label: str) -> Iterator[Path | None]:
        """Lend a folder for the result of a task, and turn what goes wrong into its outcome.

        Only the board goes to stdout: of what a plugin prints there, the beginning is told to the reporter.
        """
        printed = Sink()
        try:
            with self.store.create(stage, key, replace=self.reuse == "never") as folder, redirect_stdout(printed):
                yield folder
            self.run.outcomes[key] = Outcome(stage, key, "stored" if folder is None else "done")
        except PrerequisiteError:
            raise  # the store or the model itself: nothing that follows could go well
        except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything, and must not end the run
            from unlearnbench.run.stages import Skipped

            if isinstance(error, Skipped):
                self.run.outcomes[key] = Outcome(stage, key, "skipped", str(error))
                self.reporter.note(f"skipped: {label}: {error}")
                return
            reason = one_line(f"{type(error).__name__}: {error}")
            file = self.store.record_failure(stage, key, reason, traceback.format_exc())
            self.run.outcomes[key] = Outcome(stage, key, "failed", reason)
            self.reporter.note(f"failed: {stage} {label}: {reason}; its traceback: {file}")
        finally:
            if printed.count:
                self.reporter.note(
                    f"{stage} {label} printed {printed.count:,} characters: {one_line(printed.beginning)}"
                )

    def _edits(self) -> None:
        wanted = [key for key in self.plan.edits if self._wanted("edit", key)]
        labels = {cell.edit: f"{cell.method} {cell.forget}" for cell in self.plan.cells}
        if wanted:
            self._make_edits(wanted, labels)
        for key in self.plan.edits:
            self._note_verdict(key, labels[key])

    def _make_edits(self, wanted: list[str], labels: dict[str | None, str]) -> None:
        methods = {cell.edit: self.plan.entries[cell.method] for cell in self.plan.cells if cell.edit}
        self.reporter.begin("edit", len(wanted), "edits")
        for key in wanted:
            task = self.plan.edits[key]
            model = self.machine.model  # what goes wrong in loading is no failure of a method: it ends the run
            with self._task("edit", key, labels[key]) as folder:
                if folder is not None:
                    from unlearnbench.run.stages import run_edit

                    entry = methods[key]
                    method = entry.load()(entry.load_params().model_validate(task.params))
                    tmp = Path(tempfile.mkdtemp(prefix="unlearnbench-"))
                    try:
                        edit = run_edit(method, task, model, folder, tmp, self.reporter, edits=entry.spec.edits or None)
                        if edit.verdict is not None and edit.verdict.word == "broken":
                            self.machine.release()  # it may have reached where `Model.restore` does not
                    finally:
                        shutil.rmtree(tmp, ignore_errors=True)
            self.reporter.advance(1, labels[key])
        self.reporter.end()

    def _note_verdict(self, key: str, label: str) -> None:
        """Take note of the verdict on an edit that is stored, and tell if it is not ok."""
        verdict = stored_verdict(self.store.folder("edit", key)) if self.run.outcomes[key].available else None
        if verdict is not None:
            self.run.verdicts[key] = verdict
            if verdict.word != "ok":
                self.reporter.note(f"{verdict.word}: {label}: {verdict.reason}")

    def _samples(self, by_edit: dict[str | None, list[str]]) -> None:
        wanted = {edit: [k for k in keys if self._wanted("sample", k)] for edit, keys in by_edit.items()}
        total = sum(self.plan.samples[k].images for keys in wanted.values() for k in keys)
        if not total:
            return
        labels = {cell.sample: f"{cell.method} {cell.forget}: {cell.concept.id}" for cell in reversed(self.plan.cells)}
        for cell in reversed(self.plan.cells):
            if cell.captions is not None:
                labels[self.plan.comparisons[cell.captions].edited] = f"{cell.method} {cell.forget}: captions"
        _ = self.machine.model
        self.reporter.begin("sample", total, "images")
        start = time.perf_counter()
        for edit, keys in wanted.items():
            outcome = self._obstacle(edit) if edit else None
            if outcome is not None:
                for key in keys:
                    self._block("sample", key, outcome)
                    self.reporter.advance(self.plan.samples[key].images, labels[key])
            elif keys:
                self._sample_edit(edit, keys, labels)
        self.run.sampling_seconds = time.perf_counter() - start
        self.reporter.end()

    def _obstacle(self, edit: str) -> Outcome | None:
        """Return why an edit gives no images: it is not there, or it is broken; None = it gives some."""
        outcome, verdict = self.run.outcomes[edit], self.run.verdicts.get(edit)
        if not outcome.available:
            return outcome
        broken = verdict is not None and verdict.word == "broken"
        return Outcome("edit", edit, "failed", f"broken: {verdict.reason}") if verdict and broken else None

    def _sample_edit(self, edit: str | None, keys: list[str], labels: dict[str, str]) -> None:
        """Sample everything that one edited model is asked for, with the weights applied once."""
        from unlearnbench.run.stages import load_edit, run_sample

        sampling = None
        with self.machine.model.edited() as model:
            if edit is not None:
                try:
                    stored = load_edit(self.store.folder("edit", edit))
                    if stored.tensors:
                        model.apply(stored.tensors)
                    sampling = stored.sampling
                except UserError as error:
                    # Without its weights these would be images of the unedited model.
                    self.reporter.note(f"failed: {labels[keys[0]]}: {error.what}")
                    for key in keys:
                        self.store.record_failure("sample", key, error.what, traceback.format_exc())
                        self.run.outcomes[key] = Outcome("sample", key, "failed", error.what)
                    return
            for key in keys:
                task = self.plan.samples[key]
                with self._task("sample", key, labels[key]) as folder:
                    if folder is not None:
                        report = partial(self.reporter.advance, label=labels[key])
                        run_sample(task, model, sampling, folder, self.machine.batch_size, report)
                        self.run.images += task.images

    def _scores(self) -> None:
        wanted = []
        for key, task in self.plan.scores.items():
            sample = self.run.outcomes[task.sample]
            if not sample.available:
                self._block("score", key, sample)
            elif self._wanted("score", key):
                wanted.append(key)
        if not wanted:
            return
        from unlearnbench.run.scoring import run_score

        self.reporter.begin("score", len(wanted), "tasks")
        evaluator = self.machine.judge(self.plan.judge)
        for key in wanted:
            task = self.plan.scores[key]
            with self._task("score", key, task.question.concept) as folder:
                if folder is not None:
                    lost = run_score(evaluator, task.question, self.store.folder("sample", task.sample), folder)
                    if lost:
                        self.reporter.note(f"{self.plan.judge.name} {lost}: {task.question.concept}")
            self.reporter.advance(1, task.question.concept)
        self.reporter.end()

    def _comparisons(self) -> None:
        """Compare images with the unedited model's, if the plan has a set evaluator."""
        wanted = []
        for key, task in self.plan.comparisons.items():
            lacking = [s for s in (task.reference, task.edited) if not self.run.outcomes[s].available]
            if lacking:
                self._block("set-score", key, self.run.outcomes[lacking[-1]])
            elif self._wanted("set-score", key):
                wanted.append(key)
        if not wanted or self.plan.comparer is None:
            return
        from unlearnbench.run.scoring import run_comparison

        self.reporter.begin("compare", len(wanted), "tasks")
        evaluator = self.machine.judge(self.plan.comparer)
        for key in wanted:
            task = self.plan.comparisons[key]
            with self._task("set-score", key, task.question.concept) as folder:
                if folder is not None:
                    edited, reference = (self.store.folder("sample", key) for key in (task.edited, task.reference))
                    run_comparison(evaluator, task.question, edited, reference, folder)
            self.reporter.advance(1, task.question.concept)
        self.reporter.end()

    def _block(self, stage: Stage, key: str, cause: Outcome) -> None:
        self.run.outcomes[key] = Outcome(stage, key, "blocked", cause.reason)
