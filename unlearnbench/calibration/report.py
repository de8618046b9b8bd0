"""A calibration as data: what was measured of each judge, what it does to scores, and how far judges agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from pydantic import ConfigDict, Field

from unlearnbench.api import Frozen, Question
from unlearnbench.calibration.agreement import Agreement, pairwise
from unlearnbench.calibration.ask import Asker
from unlearnbench.calibration.corrected import Corrected, CorrectedMethod, correct
from unlearnbench.calibration.images import Part, Truth, choose
from unlearnbench.calibration.rates import Bin, ConceptCalibration, measure, pooled
from unlearnbench.errors import PrerequisiteError
from unlearnbench.results.publish import stored_results
from unlearnbench.run.request import make_question
from unlearnbench.stats.intervals import LEVEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unlearnbench.api import ConceptDataset, DataImage
    from unlearnbench.progress import Reporter
    from unlearnbench.run.plan import Judge
    from unlearnbench.spec import Suite
    from unlearnbench.store import Store


class JudgeCalibration(Frozen):
    """What was measured of one judge."""

    judge: str
    fingerprint: str
    package: str
    params: dict[str, Any]
    concepts: tuple[ConceptCalibration, ...]
    bins: tuple[Bin, ...] = Field(description="reliability over all concepts together")
    protocol: str = Field(description="digest of the protocol whose scores are corrected; '' = none is stored")
    corrected: tuple[Corrected, ...] = ()
    corrected_methods: tuple[CorrectedMethod, ...] = ()

    @property
    def failed(self) -> list[ConceptCalibration]:
        """Return the concepts that the judge raised for."""
        return [concept for concept in self.concepts if concept.reason]


class Calibration(Frozen):
    """The calibration of judges on one suite's concepts."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    version: Literal["unlearnbench.calibration/1"] = Field("unlearnbench.calibration/1", alias="schema")
    suite: str
    title: str
    images: int = Field(ge=1, description="images of known content")
    source: str = Field(description="the data set or the folder that they are from")
    most: int = Field(ge=1, description="at most so many a concept that show it, and so many that do not")
    part: Part
    level: float = Field(gt=0.0, lt=1.0, description="coverage of the intervals")
    judges: tuple[JudgeCalibration, ...]
    agreement: tuple[Agreement, ...] = Field(description="of every two judges, on these images")


def calibrate(
    suite: Suite, dataset: ConceptDataset, judges: Sequence[Judge], images: Sequence[DataImage], store: Store,
    reporter: Reporter, *, device: str, source: str, most: int, part: Part, level: float = LEVEL,
) -> Calibration:  # fmt: skip
    """Measure judges on the concepts that a suite evaluates.

    Args:
        suite: its `evaluate` are the concepts; its stored scores are corrected.
        dataset: its data set.
        judges: the judges; each has its own store entries.
        images: images of known content.
        store: where answers are kept, and scores are found.
        reporter: told about progress.
        device: where judges run.
        source: what the images are from, for people.
        most: at most so many images of a concept, and so many without it.
        part: all images, or one half of them.
        level: coverage of the intervals.

    Raises:
        PrerequisiteError: a judge cannot be loaded, or there is no image of any concept.
    """
    questions: dict[str, tuple[Question, Sequence[Truth]]] = {}
    for name in suite.evaluate:
        truth = choose(images, name, most, part)
        if any(shown for _, shown in truth):
            questions[name] = make_question(dataset, dataset.concepts[name], suite.task), truth
    if not questions:
        raise PrerequisiteError(
            f"no image shows a concept that suite {suite.name} evaluates",
            f"name a folder of images: --images DIR, with DIR/{suite.evaluate[0]}/*.png",
        )
    tables, found = {}, []
    for judge in judges:
        answers, reasons = Asker(judge, store, device, reporter).ask(questions)
        if answers:
            tables[judge.name] = pd.concat([own.assign(concept=concept) for concept, own in answers.items()])
        kinds = {concept: dataset.concepts[concept].kind for concept in questions}
        empty = pd.DataFrame({"truth": [], "p_yes": [], "label": []}, dtype=float)
        concepts = tuple(
            measure(answers.get(concept, empty), concept, kinds[concept], level=level).model_copy(
                update={"reason": reasons.get(concept, "")}
            )
            for concept in questions
        )
        found.append(_judged(judge, concepts, suite, store, level))
    return Calibration(
        suite=suite.name,
        title=suite.title,
        images=len(images),
        source=source,
        most=most,
        part=part,
        level=level,
        judges=tuple(found),
        agreement=tuple(pairwise(tables, ["image", "concept"], ["concept"])),
    )


def thresholds(judge: JudgeCalibration) -> dict[str, float]:
    """Return the threshold of each concept that has one."""
    return {one.concept: one.threshold for one in judge.concepts if one.threshold is not None}


def same_judge(fields: Mapping[str, Any], judge: Judge) -> bool:
    """Return whether scores were made by this judge with these parameters."""
    params = judge.params.model_dump(mode="json")
    return (fields["name"], fields["fingerprint"], fields["params"]) == (judge.name, judge.fingerprint, params)


def _judged(
    judge: Judge, concepts: tuple[ConceptCalibration, ...], suite: Suite, store: Store, level: float
) -> JudgeCalibration:
    """Return what was measured of a judge, with the stored scores of the suite corrected, latest first."""
    stored = next((r for r in stored_results(store, suite.name) if same_judge(r.fields["judge"], judge)), None)
    rows, methods = ([], []) if stored is None else correct(
        stored.scores(), {one.concept: one for one in concepts}, level=level
    )  # fmt: skip
    return JudgeCalibration(
        judge=judge.name,
        fingerprint=judge.fingerprint,
        package=f"{judge.origin.distribution} {judge.origin.version}",
        params=judge.params.model_dump(mode="json"),
        concepts=concepts,
        bins=pooled(concepts, level=level),
        protocol="" if stored is None else stored.protocol,
        corrected=tuple(rows),
        corrected_methods=tuple(methods),
    )
