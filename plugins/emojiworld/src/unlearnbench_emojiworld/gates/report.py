"""The report of the gates, as JSON and as Markdown."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearnbench_emojiworld.gates.measured import Measured, Suite

MOST_CONFUSED = 12


def to_json(measured: Measured) -> str:
    """Return the report as JSON; what could not be measured is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    gates = [{**asdict(gate), "verdict": gate.verdict} for gate in measured.gates()]
    return json.dumps(plain({"gates": gates, **asdict(measured)}), indent=1, allow_nan=False) + "\n"


def markdown(measured: Measured) -> str:
    """Return the report as Markdown: the gates first, then what they are made of."""
    sampler, gates = measured.sampler, measured.gates()
    counts = {v: sum(gate.verdict == v for gate in gates) for v in ("met", "missed", "not measured")}
    lines = [
        "# Gates",
        "",
        f"{sampler['scheduler']}, {sampler['steps']} steps, guidance {sampler['guidance']:g};"
        f" {measured.images_per_prompt} images a prompt."
        f" {counts['met']} gates met, {counts['missed']} missed, {counts['not measured']} not measured.",
        "" if measured.second_judge else "\nThere are no weights of the second judge, so nothing is audited by it.\n",
        "| gate | limit | measured | | where |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {gate.name} | {gate.sense} {gate.limit:g} | {gate.value:.3f} | {gate.verdict} | {gate.note} |"
            for gate in gates
        ),
    ]
    for suite in measured.suites:
        lines += ["", *_suite(suite)]
    lines += [
        "",
        "## Professions",
        "",
        f"Share of images with the first attribute, among those with one. On held-out renders the judge names the"
        f" attribute of {measured.attributes_named:.3f}.",
        "",
        "| profession | images | attribute | planted | drawn | shown |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {one.profession} | {one.images} | {one.attribute} | {one.planted:.2f} | {one.drawn:.3f} |"
            f" {one.shown:.3f} |"
            for one in measured.skew
        ),
        "",
        "## Planted images",
        "",
        "| image | images of its caption | reproduced | mean distance |",
        "| --- | --- | --- | --- |",
        *(
            f"| {one.image} | {one.images} | {one.reproduced:.3f} | {one.distance:.3f} |" for one in measured.planted
        ),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _suite(suite: Suite) -> list[str]:
    judged = {(gate.judge, one.concept): one for gate in suite.judges for one in gate.concepts}
    coverage = suite.coverage
    lines = [f"## {suite.suite}", ""]
    for gate in suite.judges:
        confused = "; ".join(f"{one} as {other} ({count})" for one, other, count in gate.confused[:MOST_CONFUSED])
        lines.append(
            f"Judge `{gate.judge}` on {gate.renders} held-out renders: subject named {gate.subjects_named:.3f}, style"
            f" {gate.styles_named:.3f}, {gate.unscored} answers missing; confused: {confused or 'none'}."
        )
    weak = ", ".join(f"{subject} {part:.2f}" for subject, part in coverage.weakest.items()) or "none"
    confused = "; ".join(f"{one} as {other} ({count})" for one, other, count in coverage.confused[:MOST_CONFUSED])
    return [
        *lines,
        "",
        f"Every subject in every style ({coverage.images} images): subject named {coverage.subjects_named:.3f}, style"
        f" {coverage.styles_named:.3f}. Not named in all styles: {weak}. Confused: {confused or 'none'}.",
        "",
        "| judge | concept | kind | images | direct | indirect | sensitivity on renders | false positives |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {gate.judge} | {gate.concept} | {gate.kind} | {gate.images} | {gate.direct:.3f} | {gate.indirect:.3f}"
            f" | {judged[gate.judge, gate.concept].sensitivity:.3f}"
            f" | {judged[gate.judge, gate.concept].false_positive:.4f} |"
            for gate in suite.concepts
        ),
    ]
