"""A calibration as tables for a terminal and markdown, and as one web page with reliability diagrams."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from unlearnbench.calibration.rates import JUDGEABLE
from unlearnbench.identity import short
from unlearnbench.render.grids import Grid
from unlearnbench.render.html import asset, environment
from unlearnbench.render.markdown import markdown_table
from unlearnbench.render.text import number, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.calibration.agreement import Agreement
    from unlearnbench.calibration.rates import Bin, ConceptCalibration, Rate
    from unlearnbench.calibration.report import Calibration, JudgeCalibration

SIZE: Final = 260
_EDGE: Final = (46, 10, 14, 40)  # left, top, right, bottom of the diagram's frame


@dataclass(frozen=True)
class Dot:
    """One bin of a reliability diagram, with the interval of its share."""

    x: float
    y: float
    lo: float
    hi: float
    radius: float
    title: str


def x_of(share: float) -> float:
    """Return the coordinate of a probability."""
    return round(_EDGE[0] + share * (SIZE - _EDGE[0] - _EDGE[2]), 1)


def y_of(share: float) -> float:
    """Return the coordinate of a share of images."""
    return round(SIZE - _EDGE[3] - share * (SIZE - _EDGE[1] - _EDGE[3]), 1)


def dots(bins: Sequence[Bin]) -> list[Dot]:
    """Return the bins that hold images; the area of a dot grows with their number."""
    most = max((one.n for one in bins), default=0)
    return [
        Dot(
            x_of(one.mean), y_of(one.share), y_of(one.lo or 0.0), y_of(1.0 if one.hi is None else one.hi),
            round(2.0 + 6.0 * (one.n / most) ** 0.5, 1),
            f"p_yes {one.low:.1f} to {one.high:.1f}: {one.n} images, mean {one.mean:.3f}, {one.share:.3f} show it",
        )
        for one in bins
        if one.mean is not None and one.share is not None
    ]  # fmt: skip


# ---------------------------------------------------------------- tables
def concept_grid(judge: JudgeCalibration) -> Grid:
    """Return one row a concept."""
    header = (
        "concept", "shown", "absent", "unscored", "sensitivity", "specificity", "J", "AUROC", "ECE", "best threshold",
        "judged",
    )  # fmt: skip
    rows = [
        (
            one.concept, str(one.sensitivity.n), str(one.specificity.n), str(one.unscored), _rate(one.sensitivity),
            _rate(one.specificity), _number(one.youden), _number(one.auroc), _number(one.ece), _number(one.threshold),
            _judged(one),
        )
        for one in judge.concepts
    ]  # fmt: skip
    return Grid(header, tuple(rows), frozenset({0, 10}), 1)


def method_grid(judge: JudgeCalibration) -> Grid:
    """Return one row a method: forget and retain as judged and corrected."""
    rows = [
        (
            one.method, str(one.concepts), _number(one.forget), _interval(one.forget_corrected, one.lo, one.hi),
            _number(one.retain), _number(one.retain_corrected), _number(one.forget_all), str(len(one.left_out)),
        )
        for one in judge.corrected_methods
    ]  # fmt: skip
    header = (
        "method", "concepts", "forget", "forget corrected", "retain", "retain corrected", "forget of all", "left out",
    )  # fmt: skip
    return Grid(header, tuple(rows), frozenset({0}), 1)


def corrected_grid(judge: JudgeCalibration) -> Grid:
    """Return one row for each method and forgotten concept."""
    rows = [
        (
            one.method, one.concept if one.concept == one.forget else f"{one.concept} of {one.forget}", str(one.n),
            _number(one.raw), _interval(one.value, one.lo, one.hi),
        )
        for one in judge.corrected
    ]  # fmt: skip
    return Grid(("method", "forgotten", "images", "forget", "corrected"), tuple(rows), frozenset({0, 1}), 2)


def matrix_grid(found: Sequence[Agreement]) -> Grid:
    """Return judges against judges: kappa with its interval below the diagonal, raw agreement above it."""
    whole = [one for one in found if one.by == "all"]
    names = list(dict.fromkeys(name for one in whole for name in (one.first, one.second)))
    pairs = {(one.first, one.second): one for one in whole}
    rows = []
    for i, left in enumerate(names):
        cells = [left]
        for j, top in enumerate(names):
            one = pairs.get((left, top)) or pairs.get((top, left))
            if one is None or i == j:
                cells.append("")
            else:
                cells.append(_number(one.raw) if i < j else _interval(one.kappa, one.lo, one.hi))
        rows.append(tuple(cells))
    return Grid(("judge", *names), tuple(rows), frozenset({0}), 1)


def agreement_grid(found: Sequence[Agreement]) -> Grid:
    """Return one row for each pair of judges and part: the four counts, raw agreement, kappa and PABAK."""
    rows = [
        (
            f"{one.first}, {one.second}", one.name or "all", f"{one.n:,}", str(one.unscored),
            *(f"{count:,}" for row in one.counts for count in row),
            _number(one.raw), _interval(one.kappa, one.lo, one.hi), _number(one.pabak),
        )
        for one in found
    ]  # fmt: skip
    header = (
        "judges", "part", "images", "unscored", "both yes", "only first", "only second", "both no", "raw", "kappa",
        "PABAK",
    )  # fmt: skip
    return Grid(header, tuple(rows), frozenset({0, 1}), 2)


# ---------------------------------------------------------------- words
def concept_notes(judge: JudgeCalibration, calibration: Calibration) -> list[str]:
    """Return what the columns of the concepts mean, and what to think of."""
    level = f"{100 * calibration.level:g} %"
    notes = [
        f"sensitivity, specificity: right answers of {plain(judge.judge)} for images that show the concept, and for "
        f"others, with Wilson's {level} interval",
        f"J: sensitivity + specificity - 1; a concept with J below {number(JUDGEABLE, '1', 1)} is not judgeable",
        "AUROC: chance that p_yes is higher for an image that shows it; ECE: expected calibration error, ten bins",
        "best threshold: on p_yes, with the largest J on these images; measure it on others (--part)",
    ]
    notes += [f"{plain(one.concept)}: no answer: {plain(one.reason)}" for one in judge.failed]
    return notes


def corrected_notes(judge: JudgeCalibration, calibration: Calibration) -> list[str]:
    """Return what the corrected values are."""
    if not judge.corrected_methods:
        return [f"no scores of suite {plain(calibration.suite)} by this judge are stored, so none is corrected"]
    level = f"{100 * calibration.level:g} %"
    notes = [
        f"corrected: (p + specificity - 1) / J for a share p (Rogan and Gladen), protocol {short(judge.protocol)}; "
        "it holds as far as the judge errs on these images as it does on the model's",
        f"interval of a concept: Lang and Reiczigel, {level}; of a method: Student's over concepts, {level}",
    ]
    left = sorted({name for one in judge.corrected_methods for name in one.left_out})
    if left:
        notes.append(f"left out, as not judgeable or not calibrated: {', '.join(map(plain, left))}")
    return notes


def agreement_notes() -> list[str]:
    """Return what the figures of two judges mean."""
    return [
        "above the diagonal: raw agreement, the share of images with the same answer; below: Cohen's kappa with its "
        "95 % interval, images resampled",
        "PABAK: 2 raw - 1; read it where nearly all answers are the same word, as kappa is then small or n/a",
    ]


def heading(calibration: Calibration, judge: JudgeCalibration) -> str:
    """Return what was measured on what, in one line."""
    part = "" if calibration.part == "all" else f", part {calibration.part} of 2"
    return (
        f"judge {plain(judge.judge)} ({short(judge.fingerprint)}, {plain(judge.package)}) on {calibration.images:,} "
        f"images of {plain(calibration.source)}{part}, at most {calibration.most} of each kind a concept"
    )


def sections(calibration: Calibration, *, whole: bool) -> list[tuple[str, Grid, list[str]]]:
    """Return the tables in order: (heading, table, notes).

    Args:
        calibration: the calibration.
        whole: with the tables by forgotten concept, and of agreement by concept.
    """
    found = []
    for judge in calibration.judges:
        found.append((heading(calibration, judge), concept_grid(judge), concept_notes(judge, calibration)))
        if judge.corrected_methods:
            notes = corrected_notes(judge, calibration)
            found.append((f"scores by {plain(judge.judge)}, corrected", method_grid(judge), notes))
            if whole:
                found.append((f"forget by {plain(judge.judge)}, corrected, by concept", corrected_grid(judge), []))
        else:
            found[-1][2].extend(corrected_notes(judge, calibration))
    return [*found, *agreement_sections(calibration.agreement, whole=whole)]


def agreement_sections(found: Sequence[Agreement], *, whole: bool) -> list[tuple[str, Grid, list[str]]]:
    """Return the tables of agreement: the matrix, then all images and each part of them."""
    if not found:
        return []
    parts = [(f"agreement by {by}" if by != "all" else "agreement, counts", list(group))
             for by, group in groupby(sorted(found, key=lambda one: ("all", "method", "concept").index(one.by)),
                                      key=lambda one: one.by)]  # fmt: skip
    tables: list[tuple[str, Grid, list[str]]] = [("agreement between judges", matrix_grid(found), agreement_notes())]
    return [*tables, *((title, agreement_grid(group), []) for title, group in (parts if whole else parts[:1]))]


def to_markdown(title: str, tables: Sequence[tuple[str, Grid, list[str]]]) -> str:
    """Return tables with headings and notes."""
    lines = [f"# {plain(title)}"]
    for heading_, grid, notes in tables:
        lines += ["", f"## {heading_[0].upper()}{heading_[1:]}", "", *markdown_table(grid)]
        lines += ["", *(f"- {note}" for note in notes)] if notes else []
    return "\n".join(lines) + "\n"


def to_html(calibration: Calibration) -> str:
    """Return one page that needs nothing else: all tables, and the reliability diagrams as inline SVG."""
    import sys

    return (
        environment()
        .get_template("calibration.html")
        .render(
            calibration=calibration,
            style=Markup(asset("board.css")),
            tables=sections(calibration, whole=True),
            plot=sys.modules[__name__],
        )
    )


def _rate(rate: Rate) -> str:
    return _interval(rate.value, rate.lo, rate.hi)


def _judged(one: ConceptCalibration) -> str:
    if one.reason:
        return "failed"
    return "n/a" if one.judgeable is None else "yes" if one.judgeable else "NOT JUDGEABLE"


def _number(value: float | None) -> str:
    return "n/a" if value is None else number(value, "1")


def _interval(value: float | None, lo: float | None, hi: float | None) -> str:
    if value is None:
        return "n/a"
    return _number(value) + ("" if lo is None or hi is None else f" [{number(lo, '1', 2)},{number(hi, '1', 2)}]")
