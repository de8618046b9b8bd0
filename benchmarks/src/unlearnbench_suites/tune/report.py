"""What was found for one method: every setting with its values, and the one that the rule chooses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from unlearnbench.api import Frozen
from unlearnbench.board.cells import Cell
from unlearnbench.board.columns import COLUMNS
from unlearnbench.board.data import Failure, Identified
from unlearnbench.identity import short
from unlearnbench.render.grids import Grid
from unlearnbench.render.markdown import escape, markdown_table
from unlearnbench.render.text import interval_of, value_of
from unlearnbench.spec import Column, Origin
from unlearnbench_suites.tune.settings import Setting

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN: Final[tuple[Column, ...]] = ("forget", "retain", "harmonic_mean", "forget_indirect", "edit_seconds")


class Trial(Frozen):
    """One setting, or one control."""

    name: str = Field(description="the parameters that differ from the defaults, or the control")
    params: Setting = Field(description="the same as values; none for a control")
    cells: dict[Column, Cell]
    failures: tuple[Failure, ...] = Field((), description="edits without scores, by reason")


class Report(Frozen):
    """All settings of one method on one suite."""

    method: str
    origin: Origin = Field(description="the code of the method")
    suite: str
    version: int = Field(description="of the suite")
    forget: tuple[str, ...]
    evaluate: tuple[str, ...]
    protocol: str = Field(description="digest of all that the settings have in common")
    model: Identified
    judge: Identified
    environment: dict[str, Any] = Field(description="what the first edit ran on")
    tie: float
    seconds: float
    trials: tuple[Trial, ...] = Field(description="in the order of the settings file")
    controls: tuple[Trial, ...]
    chosen: int | None = Field(description="place of the chosen setting in `trials`, from 0; none = none can be chosen")


def setting_name(params: Setting) -> str:
    """Return a setting as words: `edits=3 lamb=0.5`, or `defaults`."""
    return " ".join(f"{key}={_value(value)}" for key, value in params.items()) or "defaults"


def choose(trials: Sequence[Trial], *, tie: float, seconds: float) -> int | None:
    """Return the place of the setting that the rule chooses; None if there is none.

    Of the settings whose edits take at most `seconds` and whose images all have a score, those whose harmonic mean is
    within `tie` of the highest are equally good, and of these the one with the cheapest edits is chosen (the first
    one, if they cost the same).
    """
    able = {
        place: (trial.cells["harmonic_mean"].value, trial.cells["edit_seconds"].value)
        for place, trial in enumerate(trials)
        if not _obstacle(trial, seconds)
    }
    values = {place: (mean, cost) for place, (mean, cost) in able.items() if mean is not None and cost is not None}
    if not values:
        return None
    highest = max(mean for mean, _ in values.values())
    equal = [place for place, (mean, _) in values.items() if mean >= highest - tie]
    return min(equal, key=lambda place: values[place][1])


def markdown(report: Report) -> str:
    """Return the report as a page: the rule, the table, and the chosen setting as a preset of a suite file."""
    lines = [
        f"# Settings of {report.method}, compared on {report.suite}",
        "",
        f"Suite {report.suite}, version {report.version}, protocol {short(report.protocol)}: forgets "
        f"{', '.join(report.forget)}, evaluates {', '.join(report.evaluate)}. Model {report.model.id} "
        f"({short(report.model.fingerprint)}), judge {report.judge.id} ({short(report.judge.fingerprint)}). Method: "
        f"{report.origin.distribution} {report.origin.version} ({short(report.origin.source)}), on "
        f"{report.environment.get('device', 'no device')} with {report.environment.get('threads', 'no')} threads.",
        "",
        f"The rule: of the settings whose edits take at most {report.seconds:g} s (median) and whose images all have a "
        f"score, those within {report.tie:g} of the highest harmonic mean are equally good, and of these the one with "
        "the cheapest edits is chosen.",
        "",
    ]
    rows = [_row(trial, _remark(report, place), control=False) for place, trial in enumerate(report.trials)]
    rows += [_row(trial, "control", control=True) for trial in report.controls]
    header = ("setting", *(COLUMNS[name].title for name in SHOWN), "")
    lines += markdown_table(Grid(header, tuple(rows), frozenset({0, len(header) - 1}), 1))
    failed = [f"- {escape(line)}" for trial in report.trials for line in _failed(trial)]
    lines += ["", *failed, ""] if failed else [""]
    if report.chosen is None:
        return "\n".join([*lines, "No setting can be chosen."]) + "\n"
    params = report.trials[report.chosen].params
    preset = [f"{key} = {_toml(value)}" for key, value in params.items()]
    return "\n".join([*lines, "```toml", f"[presets.{report.method}]", *preset, "```"]) + "\n"


def _obstacle(trial: Trial, seconds: float) -> str:
    """Return why a setting cannot be chosen, or ''."""
    mean, cost = trial.cells["harmonic_mean"], trial.cells["edit_seconds"]
    if trial.failures or mean.value is None or cost.value is None:
        return "failed"
    if mean.n_unscored or mean.n_failed:
        return "images without a score"
    return f"over {seconds:g} s" if cost.value > seconds else ""


def _remark(report: Report, place: int) -> str:
    return "chosen" if place == report.chosen else _obstacle(report.trials[place], report.seconds)


def _row(trial: Trial, remark: str, *, control: bool) -> tuple[str, ...]:
    cells = []
    for name in SHOWN:
        cell, info = trial.cells[name], COLUMNS[name]
        cells.append(f"{value_of(cell, info, control)} {interval_of(cell, info)}".rstrip())
    return (trial.name, *cells, remark)


def _failed(trial: Trial) -> list[str]:
    return [f"{trial.name}: {', '.join(failure.concepts)}: {failure.reason}" for failure in trial.failures]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _toml(value: Any) -> str:
    """Return a parameter as TOML: JSON's numbers, strings, truth values and lists are also TOML's."""
    return json.dumps(value, ensure_ascii=False)
