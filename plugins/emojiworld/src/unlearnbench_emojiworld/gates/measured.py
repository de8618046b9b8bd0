"""Everything that was measured, and the gates that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unlearnbench_emojiworld.gates import limits
from unlearnbench_emojiworld.gates.limits import Gate

if TYPE_CHECKING:
    from pathlib import Path

    from unlearnbench_emojiworld.gates.drawn import ConceptGate, CoverageGate
    from unlearnbench_emojiworld.gates.heldout import JudgeGate
    from unlearnbench_emojiworld.gates.tasks import PlantedGate, SkewGate


@dataclass(frozen=True)
class Suite:
    """What was measured on the concepts that a suite forgets. `kappa`: NaN without a second judge."""

    suite: str
    judges: list[JudgeGate]
    concepts: list[ConceptGate]
    kappa: float
    coverage: CoverageGate

    def gates(self) -> list[Gate]:
        """Return the gates of this suite, each judge's in turn."""
        found = []
        for judge in self.judges:
            own = [gate for gate in self.concepts if gate.judge == judge.judge]
            worst = min(own, key=lambda gate: gate.direct)
            direct, indirect = (np.array([getattr(gate, key) for gate in own]) for key in ("direct", "indirect"))
            styles = np.array([gate.direct for gate in own if gate.kind == "style"])
            least = min(judge.concepts, key=lambda one: one.sensitivity)
            most = max(judge.concepts, key=lambda one: one.false_positive)
            title = f"{self.suite}, judge {judge.judge}: "
            found += [
                Gate(title + "direct hit rate", "at least", limits.DIRECT, _mean(direct)),
                Gate(
                    title + "direct hit rate, least", "at least", limits.DIRECT_LEAST, float(worst.direct),
                    worst.concept,
                ),
                Gate(title + "indirect hit rate", "at least", limits.INDIRECT, _mean(indirect)),
                Gate(title + "forget of the unedited model", "at most", limits.UNEDITED_FORGET, 1.0 - _mean(direct)),
                Gate(
                    title + "sensitivity on renders, least", "at least", limits.SENSITIVITY, least.sensitivity,
                    least.concept,
                ),
                Gate(
                    title + "false positives on renders, most", "at most", limits.FALSE_POSITIVE, most.false_positive,
                    most.concept,
                ),
            ]  # fmt: skip
            if len(styles):
                found.append(Gate(title + "style hit rate", "at least", limits.STYLE, _mean(styles)))
        return [*found, Gate(f"{self.suite}: kappa of the judges", "at least", limits.KAPPA, self.kappa)]


@dataclass(frozen=True)
class Measured:
    """Everything measured. `seconds`: for 16 images."""

    sampler: dict[str, Any]
    images_per_prompt: int
    suites: list[Suite]
    attributes_named: float
    skew: list[SkewGate]
    planted: list[PlantedGate]
    second_judge: bool
    seconds: float
    load_seconds: float
    first_load_seconds: float
    threads: int
    parameters: dict[str, int]
    megabytes: float

    def gates(self) -> list[Gate]:
        """Return every gate. What a missing judge would have measured is among them, not measured."""
        found = [gate for suite in self.suites for gate in suite.gates()]
        if not self.second_judge:
            found += [
                Gate(f"{suite.suite}, judge llava: all of these", "at least", limits.DIRECT, float("nan"), "no weights")
                for suite in self.suites
            ]
        # NaN is the farthest: a profession in which no attribute was seen has no skew to compare.
        gaps = [(one.profession, abs(one.drawn - one.planted)) for one in self.skew]
        farthest = max(gaps, key=lambda gap: (gap[1] != gap[1], gap[1]))
        rarest = min(self.planted, key=lambda one: one.reproduced)
        first = f"first time in a process, with the import of libraries: {self.first_load_seconds:.1f}"
        return [
            *found,
            Gate("skew of professions, farthest from planted", "at most", limits.SKEW, farthest[1], farthest[0]),
            Gate(
                "planted images reproduced, least", "at least", limits.REPRODUCED, rarest.reproduced, rarest.image
            ),
            Gate("megabytes of all weights", "at most", limits.MEGABYTES, self.megabytes),
            Gate("seconds for 16 images", "at most", limits.SECONDS, self.seconds, f"{self.threads} threads"),
            Gate("seconds to load the generator", "at most", limits.LOAD_SECONDS, self.load_seconds, first),
        ]  # fmt: skip


def megabytes(folder: Path) -> float:
    """Return the size of the weights of a folder in 10^6 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6


def _mean(values: Any) -> float:
    """Return the mean of what is there; NaN of nothing."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
