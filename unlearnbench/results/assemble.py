"""From stored scores to the tidy table: one row per image, judge and row of the board."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pandas as pd
from safetensors import SafetensorError, safe_open

from unlearnbench.results.table import CAPTION_METRICS, CAPTIONS, CONTROL, EFFECTS, PER_EDIT, SET_METRICS
from unlearnbench.verdict import REPORT, stored_verdict

if TYPE_CHECKING:
    from pathlib import Path

    from unlearnbench.run.execute import Outcome, Run
    from unlearnbench.run.plan import Cell, Plan
    from unlearnbench.store import Store

_NOTHING: dict[str, float] = dict.fromkeys(SET_METRICS, math.nan)


def assemble(plan: Plan, run: Run, store: Store) -> dict[str, pd.DataFrame]:
    """Return the tidy score table of every row label of a plan.

    A cell whose edit, samples or scores failed or were skipped keeps all its rows, unscored, with status and reason:
    it is counted and never disappears.
    """
    tables: dict[str, list[dict[str, Any]]] = {label: [] for label in plan.methods}
    captions = {key: _of_captions(plan, key, run, store) for key in {cell.captions for cell in plan.cells}}
    for cell in plan.cells:
        tables[cell.method] += _rows(plan, cell, run, store, captions[cell.captions])
    return {label: pd.DataFrame(rows) for label, rows in tables.items()}


def _rows(plan: Plan, cell: Cell, run: Run, store: Store, captions: dict[str, float]) -> list[dict[str, Any]]:
    plugin, method_seed = plan.methods[cell.method]
    cause = _cause(cell, run)
    scores: dict[tuple[int, int], dict[str, Any]] = {}
    if cause is None:
        stored = json.loads((store.folder("score", cell.score) / "scores.json").read_text(encoding="utf-8"))["scores"]
        scores = {(row["slot"], row["seed"]): row for row in stored}
    sample = plan.samples[cell.sample]
    compared = _compared(cell, run, store)
    shared = {
        "suite": plan.suite.name,
        "protocol": plan.protocol,
        "method": cell.method,
        "plugin": plugin,
        "family": CONTROL if plan.is_control(cell.method) else plan.entries[cell.method].plugin.distribution,
        "method_seed": method_seed,
        "forget": cell.forget,
        "concept": cell.concept.id,
        "kind": cell.concept.kind,
        "role": cell.role,
        "neighbour": cell.neighbour,
        "judge": plan.judge.name,
        "judge_fingerprint": plan.judge.fingerprint,
        "edit_key": cell.edit or "",
        "sample_key": cell.sample,
        "score_key": cell.score,
        "set_key": cell.compared,
        **_of_edit(cell, run, store),
        **captions,
        "status": "ok" if cause is None else "skipped" if cause.status == "skipped" else "failed",
        "reason": "" if cause is None else cause.reason,
    }
    desired = {attribute.id: attribute.desired for attribute in cell.concept.attributes}
    rows = []
    for slot, (prompt, text) in enumerate(zip(cell.prompts, sample.prompts, strict=True)):
        for seed in sample.seeds:
            score = scores.get((slot, seed), {})
            p_yes = score.get("p_yes")
            rows.append(
                {
                    **shared,
                    "prompt_id": prompt.id,
                    "prompt_kind": prompt.kind,
                    "prompt": text,
                    "seed": seed,
                    "p_yes": math.nan if p_yes is None else p_yes,
                    "label": score.get("label"),
                    "answer": score.get("answer", ""),
                    "attribute": score.get("attribute") if score.get("attribute") in desired else None,
                    "desired": desired.get(score.get("attribute", ""), math.nan),
                    "distance": score.get("distance", math.nan),
                    **compared.get((slot, seed), _NOTHING),
                }
            )
    return rows


def _compared(cell: Cell, run: Run, store: Store) -> dict[tuple[int, int], dict[str, float]]:
    """Return the values of the set evaluator by prompt number and seed; a value of the whole set is that of each."""
    if cell.compared is None or not run.outcomes[cell.compared].available:
        return {}
    file = store.folder("set-score", cell.compared) / "comparison.json"
    stored = json.loads(file.read_text(encoding="utf-8"))
    found = {}
    for row in stored["images"]:
        values = {**stored["whole"], **row}
        known: dict[str, float] = {name: values[name] for name in SET_METRICS if values.get(name) is not None}
        found[row["slot"], row["seed"]] = _NOTHING | known
    return found


def _of_captions(plan: Plan, key: str | None, run: Run, store: Store) -> dict[str, float]:
    """Return what a comparison of images of captions found: means over images, values of the set, and their number.

    `caption_unscored` counts the images that lack a value of a metric; it is NaN if there was no comparison.
    """
    found = dict.fromkeys(CAPTIONS, math.nan)
    if key is None:
        return found
    found["caption_images"] = float(plan.samples[plan.comparisons[key].edited].images)
    if run.outcomes[key].available:
        stored = json.loads((store.folder("set-score", key) / "comparison.json").read_text(encoding="utf-8"))
        images = pd.DataFrame(stored["images"]).drop(columns=["slot", "seed"]).astype(float)
        values = {**stored["whole"], **images.mean().to_dict()}
        found |= {name: values[metric] for name, metric in CAPTION_METRICS.items() if values.get(metric) is not None}
        found["caption_unscored"] = float(images.isna().any(axis=1).sum())
    return found


def _cause(cell: Cell, run: Run) -> Outcome | None:
    """Return the first outcome on the way to a cell's scores that is not a result, or None."""
    for key in (cell.edit, cell.sample, cell.score):
        if key is not None and not run.outcomes[key].available:
            return run.outcomes[key]
    return None


def _of_edit(cell: Cell, run: Run, store: Store) -> dict[str, Any]:
    """Return what the edit of a cell cost and does, and the verdict on it; null = none, or it was not measured."""
    if cell.edit is None or not run.outcomes[cell.edit].available:
        return {**dict.fromkeys(PER_EDIT, math.nan), "verdict": None, "verdict_reason": None}
    folder = store.folder("edit", cell.edit)
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    verdict = stored_verdict(folder)
    effects = dict(verdict.effects) if verdict else {}
    return {
        "edit_seconds": float(report["seconds"]),
        "peak_mem_mb": float(report["peak_mem_mb"]),
        "weights_changed": _weights(folder / "edit.safetensors"),
        **{name: math.nan if effects.get(name) is None else effects[name] for name in EFFECTS},
        "verdict": verdict.word if verdict else None,
        "verdict_reason": verdict.reason if verdict else None,
    }


def _weights(path: Path) -> float:
    """Return how many weights the tensors of an edit file hold, without reading them; NaN for a damaged file."""
    try:
        with safe_open(path, framework="numpy") as stream:
            return float(sum(math.prod(stream.get_slice(name).get_shape()) for name in stream.keys()))  # noqa: SIM118
    except (OSError, SafetensorError):
        return math.nan
