"""Images of a board: the same prompts and initial noise by every row, with the judge's answers, out of the store."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from PIL import Image

from unlearnbench.run.several import members

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from unlearnbench.store import Store

EDGE: Final = 192
"""Longest edge of an image in a report, in pixels; what is smaller stays as it is."""
_OTHERS: Final = 3  # retained concepts beside each forgotten one
_CELL: Final = ["method", "method_seed", "forget", "concept"]


@dataclass(frozen=True)
class Picture:
    """One image with the judge's answer.

    Attributes:
        method: label of the row.
        forget: the concept that the edit forgets.
        concept: the concept that the prompt is of.
        prompt_id: id of the prompt.
        prompt: the text that was sampled.
        seed: sampling seed.
        label: the judge's decision; None = unscored.
        p_yes: the judge's probability that the image shows `concept`; None = unscored.
        answer: what the judge saw.
        sensitive: whether a report blurs it.
        data: the image as a data URI.
    """

    method: str
    forget: str
    concept: str
    prompt_id: str
    prompt: str
    seed: int
    label: bool | None
    p_yes: float | None
    answer: str
    sensitive: bool
    data: str

    @property
    def saw(self) -> str:
        """Return what the judge saw, where that tells more than its decision; '' elsewhere."""
        told = self.answer == self.concept or self.answer.partition(" ")[0] in ("yes", "no")
        return "" if told and self.label is not None else self.answer


def pictures(scores: pd.DataFrame, store: Store, *, prompts: int = 4, sensitive: Collection[str] = ()) -> list[Picture]:
    """Return images of every row of a board; those that the store lacks are left out.

    For each forgotten concept: its own first prompts of each kind in turn, and the first prompt of a few retained
    concepts, neighbours first; the first sampling seed and the first method seed.

    Args:
        scores: scores table of one protocol and judge.
        store: where the images are.
        prompts: prompts of each forgotten concept; 0 = no images.
        sensitive: concepts whose images are to be blurred.
    """
    if prompts < 1:
        return []
    table = scores.assign(slot=scores.groupby(_CELL, sort=False)["prompt_id"].transform(lambda c: pd.factorize(c)[0]))
    first = table.groupby("method")["method_seed"].transform("min")
    table = table[(table["method_seed"] == first) & (table["status"] == "ok")]
    table = table[table["seed"] == table.groupby(_CELL)["seed"].transform("min")]
    found = []
    row: Any  # a named tuple, whose fields no type checker knows
    for forget, own in table.groupby("forget", sort=True):
        shown = own[own["role"] == "forget"]
        wanted = [*_some(shown, prompts), *_others(own[own["role"] == "retain"])]
        for row in own[own["prompt_id"].isin(wanted)].itertuples():
            folder = store.folder("sample", str(row.sample_key))
            data = _data(folder, int(row.slot), int(row.seed))
            if data is None:
                continue
            found.append(
                Picture(
                    method=str(row.method),
                    forget=str(forget),
                    concept=str(row.concept),
                    prompt_id=str(row.prompt_id),
                    prompt=str(row.prompt),
                    seed=int(row.seed),
                    label=None if pd.isna(row.label) else bool(row.label),
                    p_yes=None if pd.isna(row.p_yes) else float(row.p_yes),
                    answer=str(row.answer),
                    sensitive=not set(sensitive).isdisjoint({row.concept, *members(str(forget))}),
                    data=data,
                )
            )
    return found


def _some(rows: pd.DataFrame, most: int) -> list[str]:
    """Return the first prompts of each kind in turn."""
    numbered = rows.drop_duplicates("prompt_id").sort_values("slot")
    place = numbered.groupby("prompt_kind").cumcount()
    return list(numbered.assign(place=place).sort_values(["place", "slot"])["prompt_id"].head(most))


def _others(rows: pd.DataFrame) -> list[str]:
    """Return the first prompt of a few retained concepts, neighbours first."""
    first = rows[rows["slot"] == 0].drop_duplicates("concept")
    return list(first.sort_values(["neighbour", "concept"], ascending=[False, True])["prompt_id"].head(_OTHERS))


def _data(folder: Path, slot: int, seed: int) -> str | None:
    """Return an image as a small data URI; None = it is not there."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))["images"]
        name = next(row["file"] for row in index if (row["slot"], row["seed"]) == (slot, seed))
        with Image.open(folder / name) as image:
            small = image.convert("RGB")
    except (OSError, StopIteration):
        return None
    small.thumbnail((EDGE, EDGE))
    stream = BytesIO()
    small.save(stream, format="WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
