"""The report of the gates, as JSON and as Markdown."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from unlearnbench_emojiworld.gates.drawn import ConceptGate, CoverageGate
    from unlearnbench_emojiworld.gates.heldout import JudgeGate


@dataclass(frozen=True)
class Gates:
    """Everything measured."""

    suite: str
    sampler: dict[str, Any]
    images_per_prompt: int
    judge: JudgeGate
    concepts: list[ConceptGate]
    coverage: CoverageGate
    seconds_per_image: float
    threads: int
    parameters: dict[str, int]
    megabytes: float


def megabytes(folder: Path) -> float:
    """Return the size of the weights of a folder in 10^6 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6


def to_json(gates: Gates) -> str:
    """Return the report as JSON; what could not be measured is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        if isinstance(value, list):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    return json.dumps(plain(asdict(gates)), indent=1, allow_nan=False) + "\n"


def markdown(gates: Gates) -> str:
    """Return the report as Markdown."""
    judge, coverage, sampler = gates.judge, gates.coverage, gates.sampler
    direct, indirect = (np.array([getattr(c, key) for c in gates.concepts]) for key in ("direct", "indirect"))
    styles = np.array([c.direct for c in gates.concepts if c.kind == "style"])
    sensitivity = np.array([c.sensitivity for c in judge.concepts])
    false_positive = np.array([c.false_positive for c in judge.concepts])
    lines = [
        "# Gates of the shipped weights",
        "",
        f"Prompts and sampler of `{gates.suite}`: {sampler['scheduler']}, {sampler['steps']} steps, guidance"
        f" {sampler['guidance']:g}; {gates.images_per_prompt} images a prompt, {gates.seconds_per_image:.3f} s an"
        f" image on {gates.threads} thread(s). Judge: `{judge.judge}`, {judge.renders} held-out renders,"
        f" {judge.unscored} answers missing. Weights: {gates.megabytes:.1f} MB.",
        "",
        "| measured | value |",
        "| --- | --- |",
        f"| judge names the subject of a held-out render | {judge.subjects_named:.3f} |",
        f"| judge names its style | {judge.styles_named:.3f} |",
        f"| judge's sensitivity, mean (least) | {np.nanmean(sensitivity):.3f} ({np.nanmin(sensitivity):.3f}) |",
        f"| judge's false-positive rate, mean (largest) | {false_positive.mean():.4f} ({false_positive.max():.4f}) |",
        f"| direct hit rate, mean (least) over concepts | {direct.mean():.3f} ({direct.min():.3f}) |",
        f"| indirect hit rate, mean (least) over concepts | {np.nanmean(indirect):.3f} ({np.nanmin(indirect):.3f}) |",
        f"| style hit rate, direct | {styles.mean():.3f} |",
        f"| every subject in every style ({coverage.images} images): subject named | {coverage.subjects_named:.3f} |",
        f"| the same: style named | {coverage.styles_named:.3f} |",
        "",
        "| concept | kind | images | direct | indirect | judge's sensitivity | its false positives |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    judged = {c.concept: c for c in judge.concepts}
    lines += [
        f"| {c.concept} | {c.kind} | {c.images} | {c.direct:.3f} | {c.indirect:.3f}"
        f" | {judged[c.concept].sensitivity:.3f} | {judged[c.concept].false_positive:.4f} |"
        for c in gates.concepts
    ]
    weak = ", ".join(f"{subject} {share:.2f}" for subject, share in coverage.weakest.items()) or "none"
    return "\n".join([*lines, "", f"Subjects not named in all styles: {weak}.", ""])
