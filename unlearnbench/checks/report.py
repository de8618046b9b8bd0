"""Reports of checks as JSON and as markdown."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.checks.outcome import Report

FORMAT = "unlearnbench-check/1"
_PACKAGES = ("unlearnbench", "torch", "diffusers", "transformers")


def to_json(reports: Sequence[Report]) -> dict[str, Any]:
    """Return everything that is known, as JSON takes it."""
    return {
        "format": FORMAT,
        "ok": all(report.ok for report in reports),
        "environment": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "subjects": [
            {**asdict(report), "ok": report.ok, "seconds": report.seconds, "counts": report.counts()}
            for report in reports
        ],
    }


def to_markdown(reports: Sequence[Report]) -> str:
    """Return one table for each subject."""
    parts = []
    for report in reports:
        given = f" with {', '.join(f'{k}={v}' for k, v in report.params.items())}" if report.params else ""
        parts += [
            f"## {report.kind} {report.name}",
            "",
            f"{report.distribution} {report.version}{given}: {summary(report)}.",
            "",
            "| check | outcome | seconds | reason |",
            "| --- | --- | ---: | --- |",
            *(f"| {r.name} | {r.status} | {r.seconds:.1f} | {_cell(r.reason)} |" for r in report.results),
            "",
        ]
    return "\n".join(parts)


def summary(report: Report) -> str:
    """Say in a few words how all checks went: '1 failed, 27 passed in 3.2 s'."""
    counts = ", ".join(f"{count} {status}" for status, count in report.counts().items()) or "nothing was checked"
    return f"{'conforms' if report.ok else 'does not conform'}: {counts} in {report.seconds:.1f} s"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
