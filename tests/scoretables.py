"""Score tables for tests, small or drawn at random, with the columns of the real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from unlearnbench.results.table import CAPTIONS, PER_EDIT, SET_METRICS, validate

Decide = Callable[[str, str, str, int, int], bool | None]


def score_table(
    methods: Sequence[str],
    concepts: Sequence[str],
    decide: Decide,
    *,
    forget: Sequence[str] | None = None,
    prompts: int = 4,
    adversarial: int = 0,
    seeds: int = 2,
    neighbours: dict[str, Sequence[str]] | None = None,
    overlaps: dict[str, Sequence[str]] | None = None,
    method_seeds: Sequence[int] = (0,),
) -> pd.DataFrame:
    """Return a valid table; the first half of the prompts is direct, the others indirect; `decide` gives each label.

    Adversarial prompts come after these, of the forgotten concept only.
    `decide` is called with method, forgotten concept, asked concept, prompt number and sampling seed.
    """
    rows: list[dict[str, Any]] = []
    for method in methods:
        control = method in ("unedited", "prompt-swap")
        for method_seed in (0,) if control else method_seeds:
            for i, erased in enumerate(forget or concepts):
                for concept in concepts:
                    overlap = concept in (overlaps or {}).get(erased, ())
                    role = "forget" if concept == erased else "overlap" if overlap else "retain"
                    for prompt in range(prompts + (adversarial if role == "forget" else 0)):
                        kind = "direct" if prompt < (prompts + 1) // 2 else "indirect"
                        kind = kind if prompt < prompts else "adversarial"
                        for seed in range(seeds):
                            label = decide(method, erased, concept, prompt, seed)
                            rows.append(
                                {
                                    "suite": "tiny",
                                    "protocol": "ub1:" + "0" * 64,
                                    "method": method,
                                    "plugin": method,
                                    "family": "control" if control else "plugin-" + method,
                                    "method_seed": method_seed,
                                    "forget": erased,
                                    "concept": concept,
                                    "kind": "object",
                                    "role": role,
                                    "neighbour": role == "retain" and concept in (neighbours or {}).get(erased, ()),
                                    "prompt_id": f"{concept}/{kind}/{prompt + 1}",
                                    "prompt_kind": kind,
                                    "prompt": f"a picture of {concept}",
                                    "seed": seed,
                                    "p_yes": np.nan if label is None else 0.9 if label else 0.1,
                                    "label": label,
                                    "answer": "",
                                    "attribute": None,
                                    "desired": np.nan,
                                    "distance": np.nan,
                                    **dict.fromkeys(SET_METRICS, np.nan),
                                    "set_key": None,
                                    **dict.fromkeys(CAPTIONS, np.nan),
                                    "judge": "clip",
                                    "judge_fingerprint": "ub1:" + "1" * 64,
                                    "edit_key": "" if control else f"ub1:{method}/{erased}/{method_seed}",
                                    "sample_key": "",
                                    "score_key": "",
                                    "edit_seconds": np.nan if control else 1.5 + i,
                                    "peak_mem_mb": np.nan,
                                    "weights_changed": np.nan if control else 1_050_000 * (1 + i),
                                    "target_residual": np.nan if control else 0.25 + 0.01 * i,
                                    "retain_drift": np.nan if control else 0.09,
                                    "nullspace_leakage": np.nan if control else 0.11,
                                    "change_norm": np.nan if control else 0.002,
                                    "change_rank": np.nan if control else 3,
                                    "share_changed": np.nan if control else 0.022,
                                    "verdict": None if control else "ok",
                                    "verdict_reason": None if control else "it moved",
                                    "status": "ok",
                                    "reason": "",
                                }
                            )
    return validate(pd.DataFrame(rows))


def random_decide(seed: int, still: dict[str, float], retain: dict[str, float]) -> Decide:
    """Return decisions at random: `still` is how often a method still shows what it forgot, `retain` the rest.

    Every decision is a function of its own arguments, so that a method does not depend on the others in the table.
    """

    def decide(method: str, erased: str, concept: str, prompt: int, seed_of_image: int) -> bool:
        key = [seed, seed_of_image, prompt, *f"{method}/{erased}/{concept}".encode()]
        chance = still[method] if erased == concept else retain[method]
        return bool(np.random.default_rng(key).random() < chance)

    return decide


def fail(scores: pd.DataFrame, rows: pd.Series[bool], reason: str, status: str = "failed") -> pd.DataFrame:
    """Return the table with some rows failed or skipped."""
    table = scores.copy()
    table.loc[rows, "status"] = status
    table.loc[rows, "reason"] = reason
    table.loc[rows, "p_yes"] = np.nan
    table.loc[rows, "label"] = pd.NA
    table.loc[rows, list(PER_EDIT)] = np.nan
    table.loc[rows, ["verdict", "verdict_reason"]] = None
    return validate(table)


def judge_edits(scores: pd.DataFrame, rows: pd.Series[bool], word: str, reason: str) -> pd.DataFrame:
    """Return the table with another verdict on some edits."""
    table = scores.copy()
    table.loc[rows, "verdict"] = word
    table.loc[rows, "verdict_reason"] = reason
    return validate(table)


def unscore(scores: pd.DataFrame, rows: pd.Series[bool]) -> pd.DataFrame:
    """Return the table with some images that the judge gave no answer for."""
    table = scores.copy()
    table.loc[rows, "p_yes"] = np.nan
    table.loc[rows, "label"] = pd.NA
    return validate(table)
