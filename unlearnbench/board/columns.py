"""The columns a suite can ask for: what each holds, which values are better, and where they lie."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from unlearnbench.api import Frozen
from unlearnbench.results.table import CAPTION_METRICS
from unlearnbench.spec import Column


class ColumnInfo(Frozen):
    """What a column of the board holds."""

    name: Column
    title: str
    direction: Literal["higher", "lower"] = Field(description="which values are better")
    low: float = Field(description="least possible value")
    high: float | None = Field(description="greatest possible value; none = unbounded")
    unit: str = Field(description="'1' for a share or a ratio")
    controls: bool = Field(True, description="whether a control that makes no edit can have a value")
    description: str

    def better(self, first: float, second: float) -> bool:
        """Return whether `first` is the better value."""
        return first > second if self.direction == "higher" else first < second


def _share(
    name: Column, title: str, description: str, *, high: float | None = 1.0, controls: bool = True
) -> ColumnInfo:
    return ColumnInfo(
        name=name, title=title, direction="higher", low=0.0, high=high, unit="1", controls=controls,
        description=description,
    )  # fmt: skip


def _gap(name: Column, title: str, description: str) -> ColumnInfo:
    return ColumnInfo(
        name=name, title=title, direction="lower", low=0.0, high=2.0, unit="1", controls=True, description=description
    )


def _per_edit(name: Column, title: str, unit: str, description: str, *, high: float | None = None) -> ColumnInfo:
    return ColumnInfo(
        name=name, title=title, direction="lower", low=0.0, high=high, unit=unit, controls=False,
        description=f"{description}; median over edits [least, greatest]",
    )  # fmt: skip


def _of_set(
    name: Column,
    title: str,
    direction: Literal["higher", "lower"],
    description: str,
    low: float,
    high: float | None,
    unit: str = "relative",
) -> ColumnInfo:
    where = "" if name == "blank_rate_forgotten" else "; of retained concepts"
    if name in CAPTION_METRICS:
        where = "; of captions, median over edits [least, greatest]"
    return ColumnInfo(
        name=name, title=title, direction=direction, low=low, high=high, unit=unit,
        controls=True, description=description + where,
    )  # fmt: skip


COLUMNS: Final[dict[Column, ColumnInfo]] = {
    column.name: column
    for column in (
        _share("forget", "forget", "share of images of the forgotten concept that do not show it"),
        _share("retain", "retain", "share of images of the other concepts that show theirs"),
        _share("harmonic_mean", "harmonic mean", "of forget and retain"),
        _share(
            "forget_norm", "normalised forget", "where forget lies between unedited (0) and prompt-swap (1)",
            controls=False,
        ),
        _share("retain_ratio", "retain ratio", "retain as a share of unedited's retain", high=None, controls=False),
        _share(
            "harmonic_mean_norm", "normalised harmonic mean", "of normalised forget and retain ratio, at most 1 each",
            controls=False,
        ),
        _share("forget_direct", "forget direct", "on prompts that name the concept"),
        _share("forget_indirect", "forget indirect", "on prompts that evoke the concept without its name"),
        _share("forget_adversarial", "forget adversarial", "on prompts that were made to bring the concept back"),
        _share("neighbour", "retain neighbours", "retain on the concepts most like the forgotten one"),
        _share("unrelated", "retain unrelated", "retain on the concepts that are no neighbours of the forgotten one"),
        _share(
            "err3", "ERR, three axes",
            "mean over concepts of the harmonic mean of forget direct, retain and forget indirect",
        ),
        _share(
            "err5", "ERR, five axes",
            "mean over concepts of the harmonic mean of forget direct, retain unrelated, retain neighbours, forget "
            "indirect and forget adversarial",
        ),
        _gap("delta", "delta", "debiasing: sum over attributes of how far their shares are from the desired ones"),
        _gap("delta_corrected", "corrected delta", "delta without what chance adds to it"),
        _gap("delta_floor", "delta floor", "delta to be expected of balanced images, as many as there were"),
        _share("shown", "shown", "debiasing: share of images of the forgotten concept that still show it"),
        _share(
            "nearest_distance", "nearest distance", "of images of the forgotten training image's caption to that image",
            high=None,
        ),
        _per_edit("edit_seconds", "edit seconds", "s", "wall time of an edit"),
        _per_edit("peak_mem_mb", "peak memory", "MB", "of an edit, on a GPU"),
        _per_edit("weights_changed", "weights changed", "weights", "in the tensors that an edit replaces"),
        _share(
            "verdict", "verdict", "share of edits that are ok: neither no-op nor collapsed nor broken", controls=False
        ),
        _per_edit(
            "target_residual", "target residual", "1",
            "distance of the answers to edit prompts from the targets', as a share of what it was",
        ),
        _per_edit(
            "retain_drift", "retain drift", "1",
            "how far the answers to retain prompts moved, as a share of what text adds to an answer",
        ),
        _per_edit(
            "nullspace_leakage", "null-space leakage", "1",
            "what the change adds to layers' outputs on retain keys, as a share of what it adds on edit keys",
        ),
        _per_edit("change_norm", "change norm", "relative", "norm of the change over that of the tensors it changes"),
        _per_edit("change_rank", "change rank", "n", "median rank of the changed matrices' changes"),
        _per_edit(
            "share_changed", "share changed", "relative", "share of the model's parameters with another value",
            high=1.0,
        ),
        _of_set("drift_mse", "pixel drift", "lower", "mean square difference from the unedited pixels", 0.0, 1.0),
        _of_set("drift_ssim", "SSIM", "higher", "structural similarity with the unedited model's", -1.0, 1.0, "1"),
        _of_set("feature_distance", "feature drift", "lower", "cosine distance from the unedited model's", 0.0, 2.0),
        _of_set("lpips", "LPIPS", "lower", "perceptual distance from the unedited model's images", 0.0, None),
        _of_set(
            "kid", "KID", "lower",
            "unbiased kernel distance of features from the unedited model's, by concept; none is seen at 0 or below",
            -16.0, 16.0,
        ),
        _of_set("fid", "FID", "lower", "Fréchet distance of Inception features, by concept", 0.0, None, "score"),
        _of_set("clip_score", "CLIPScore", "higher", "100 max(0, cos) of image and prompt", 0.0, 100.0, "score"),
        _of_set("diversity", "diversity", "higher", "mean cosine distance between images of a concept", 0.0, 2.0),
        _of_set("blank_rate", "blank", "lower", "share of images of one colour", 0.0, 1.0, "1"),
        _of_set(
            "blank_rate_forgotten", "blank forgotten", "lower",
            "share of images of the forgotten concept of one colour: nothing took its place", 0.0, 1.0, "1",
        ),
        _of_set("caption_clip_score", "captions CLIPScore", "higher", "as CLIPScore", 0.0, 100.0, "score"),
        _of_set("caption_kid", "captions KID", "lower", "as KID, of all captions together", -16.0, 16.0),
        _of_set("caption_fid", "captions FID", "lower", "as FID, of all captions together", 0.0, None, "score"),
        _of_set("caption_ssim", "captions SSIM", "higher", "as SSIM", -1.0, 1.0, "1"),
        _of_set("caption_lpips", "captions LPIPS", "lower", "as LPIPS", 0.0, None),
    )
}  # fmt: skip
