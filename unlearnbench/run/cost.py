"""What a plan costs that is not in the store yet: images, model calls, hours and disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unlearnbench.run.plan import Plan
    from unlearnbench.store import Stage, Store


@dataclass(frozen=True)
class Part:
    """The tasks of one stage.

    Attributes:
        tasks: how many there are.
        stored: how many of them are in the store.
        seconds: estimated time of those that are not, edits of methods without a figure left out; NaN if the suite has
            no figures.
        gigabytes: estimated room on the disk of those that are not; NaN if the suite has no figures.
    """

    tasks: int
    stored: int
    seconds: float
    gigabytes: float


@dataclass(frozen=True)
class Estimate:
    """What remains to be made of a plan.

    Attributes:
        parts: by stage.
        images: images to sample.
        unet_calls: evaluations of the UNet for one image of one step, two with classifier-free guidance.
        answers: images to judge.
        unknown: methods whose edits the suite has no time for.
        hardware: what the seconds are for; '' if the suite has no figures.
    """

    parts: Mapping[Stage, Part]
    images: int
    unet_calls: int
    answers: int
    unknown: tuple[str, ...]
    hardware: str


def estimate(plan: Plan, store: Store | None) -> Estimate:
    """Estimate what a plan still takes, by the figures of its suite.

    Args:
        plan: the plan.
        store: where results are looked up; None = nothing is stored.
    """

    def missing(stage: Stage, keys: Mapping[str, object]) -> list[str]:
        return [key for key in keys if store is None or not store.has(stage, key)]

    cost = plan.suite.cost
    edits, samples, scores = (
        missing("edit", plan.edits), missing("sample", plan.samples), missing("score", plan.scores),
    )  # fmt: skip
    images = sum(plan.samples[key].images for key in samples)
    answers = sum(plan.samples[plan.scores[key].sample].images for key in scores)
    methods = [plan.edits[key].method for key in edits]
    known = cost.edit_seconds if cost else {}
    sampler = plan.suite.sampler
    sizes = (
        {"edit": cost.edit_megabytes / 1e3 * len(edits), "sample": cost.image_kilobytes / 1e6 * images, "score": 0.0}
        if cost
        else dict.fromkeys(("edit", "sample", "score"), math.nan)
    )
    times = {
        "edit": sum(known.get(method, 0.0) for method in methods) if cost else math.nan,
        "sample": cost.image_seconds * images if cost else math.nan,
        "score": cost.answer_seconds * answers if cost else math.nan,
    }
    tasks: dict[Stage, tuple[int, int]] = {
        "edit": (len(plan.edits), len(edits)),
        "sample": (len(plan.samples), len(samples)),
        "score": (len(plan.scores), len(scores)),
    }
    if plan.comparisons:
        tasks["set-score"] = len(plan.comparisons), len(missing("set-score", plan.comparisons))
        times["set-score"] = sizes["set-score"] = 0.0  # a few numbers, and a small part of what sampling takes
    return Estimate(
        parts={stage: Part(n, n - left, times[stage], sizes[stage]) for stage, (n, left) in tasks.items()},
        images=images,
        unet_calls=images * sampler.steps * (2 if sampler.guidance > 1.0 else 1),
        answers=answers,
        unknown=tuple(dict.fromkeys(method for method in methods if method not in known)),
        hardware=cost.hardware if cost else "",
    )


def describe(plan: Plan, store: Store | None) -> str:
    """Say what a plan would make, how much of it is stored, and what the rest takes."""
    from unlearnbench.identity import short

    found = estimate(plan, store)
    protocol = short(plan.protocol) if store is not None else "unknown"
    lines = [f"suite {plan.suite.name}, protocol {protocol}: rows {', '.join(plan.methods)}"]
    for stage, part in found.parts.items():
        took = f"   {_hours(part.seconds)}" if part.seconds > 0.0 else ""
        lines.append(f"{stage:<9}{part.tasks:>4} tasks, {part.stored} of them stored{took}")
    lines.append(f"images {plan.images():>6}" + (f", {found.images} to make" if found.images != plan.images() else ""))
    lines.append(f"model calls: {found.unet_calls:,} of the UNet, {found.answers:,} of the judge")
    if not found.hardware:
        return "\n".join([*lines, f"no estimate of hours and disk: the suite {plan.suite.name} has no [cost]"])
    seconds = sum(part.seconds for part in found.parts.values())
    without = f", without the edits of {', '.join(found.unknown)}" if found.unknown else ""
    lines.append(f"about {_hours(seconds)} on {found.hardware}{without}")
    images, edits = found.parts["sample"].gigabytes, found.parts["edit"].gigabytes
    lines.append(f"about {images + edits:.1f} GB of disk: {images:.1f} images, {edits:.1f} edits")
    return "\n".join(lines)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{max(1, math.ceil(seconds / 60))} min"
