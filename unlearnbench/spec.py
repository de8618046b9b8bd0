"""Frozen descriptions of what is run: models, samplers, suites, and the tasks that a plan is made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from unlearnbench.api import ConceptId, Frozen, PromptKind, Question, Request, Task
from unlearnbench.dataset import left_out
from unlearnbench.identity import canonical_json, digest

Dtype = Literal["float32", "float16", "bfloat16"]
Several = Literal["apart", "together", "sequence"]
Column = Literal[
    "forget", "retain", "harmonic_mean", "forget_norm", "retain_ratio", "harmonic_mean_norm", "forget_direct",
    "forget_indirect", "forget_adversarial", "neighbour", "unrelated", "err3", "err5", "delta", "delta_corrected",
    "delta_floor", "shown", "nearest_distance", "edit_seconds", "peak_mem_mb", "weights_changed", "verdict",
    "target_residual", "retain_drift", "nullspace_leakage", "change_norm", "change_rank", "share_changed",
    "drift_mse", "drift_ssim", "feature_distance", "lpips", "kid", "fid", "clip_score", "diversity", "blank_rate",
    "blank_rate_forgotten", "caption_clip_score", "caption_kid", "caption_fid", "caption_ssim", "caption_lpips",
]  # fmt: skip


class SamplerSpec(Frozen):
    """How images are sampled; the same for every method and for the unedited model."""

    scheduler: Literal["ddim", "dpm++", "lms", "pndm", "euler"] = Field("ddim", description="noise scheduler")
    steps: int = Field(50, ge=1, le=1000, description="denoising steps")
    guidance: float = Field(7.5, ge=0.0, le=50.0, description="guidance scale of classifier-free guidance")
    size: int | None = Field(None, ge=8, le=4096, description="height and width in pixels; none = the model's own")
    dtype: Dtype | None = Field(None, description="arithmetic of UNet and VAE; none = that of the weights")


class ModelSpec(Frozen):
    """A model as a user names it."""

    id: str = Field(min_length=1, description="name of a shipped model, folder, or hub id")
    revision: str | None = Field(None, description="git revision of a hub id")


class Ref(Frozen):
    """A plugin by name, with its parameters."""

    name: str = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """Return the row label: the name, and the parameters that were given for it."""
        given = ",".join(f"{k}={canonical_json(v).strip(chr(34))}" for k, v in sorted(self.params.items()))
        return f"{self.name}[{given}]" if given else self.name


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise ValueError("lists an entry twice")
    return values


Distinct = AfterValidator(_distinct)


def _distinct_rows(values: tuple[Ref, ...]) -> tuple[Ref, ...]:
    _distinct(tuple(ref.label for ref in values))
    return values


Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), Distinct]


class Cost(Frozen):
    """What a suite costs on one kind of machine, estimated; no result depends on it."""

    hardware: str = Field(min_length=1, description="the machine, arithmetic and batches that the figures are for")
    image_seconds: float = Field(gt=0.0, description="one image, sampled and decoded")
    answer_seconds: float = Field(ge=0.0, description="one image, judged")
    image_kilobytes: float = Field(gt=0.0, description="one image in the store")
    edit_megabytes: float = Field(gt=0.0, description="one edit in the store")
    edit_seconds: dict[str, Annotated[float, Field(ge=0.0)]] = Field(
        default_factory=dict, description="method -> one edit; a method without a figure is named in the estimate"
    )


class Retained(Frozen):
    """How much is sampled of concepts that are not forgotten: there are far more of those images than of the others."""

    prompts: Annotated[tuple[PromptKind, ...], Field(min_length=1), Distinct] = Field(
        ("direct", "indirect"), description="kinds of their prompts"
    )
    seed: Seed | None = Field(None, description="their only sampling seed, one of `seeds`; none = all of `seeds`")


class Suite(Frozen):
    """A suite file: which concepts, prompts, seeds, sampler, judge and columns make a board."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    version: int = Field(ge=1, description="raise it when anything that changes a score changes")
    model: ModelSpec
    dataset: str
    task: Task = Field("erase", description="what methods are asked to do with each concept of forget")
    forget: Annotated[tuple[ConceptId, ...], Field(min_length=1), Distinct] = Field(
        description="concepts that are forgotten, one edit each unless `several` says otherwise"
    )
    several: Several = Field(
        "apart",
        description="apart: one edit for each concept of forget; together: one edit of all; sequence: one edit of all, "
        "each concept on the model that those before it left",
    )
    evaluate: Annotated[tuple[ConceptId, ...], Field(min_length=1), Distinct] = Field(
        description="concepts whose images are made with every edited model"
    )
    seeds: Seeds = Field(description="sampling seeds; each prompt is sampled once a seed")
    retain: Retained = Field(Retained(), description="prompts and seeds of concepts that are not forgotten")
    sampler: SamplerSpec
    evaluator: Ref
    set_evaluator: Ref | None = Field(
        None, description="compares sets of images with the unedited model's; none = none"
    )
    columns: Annotated[tuple[Column, ...], Field(min_length=1), Distinct] = (
        "forget", "retain", "harmonic_mean", "forget_indirect", "edit_seconds",
    )  # fmt: skip
    rank_by: Column = Field("harmonic_mean", description="column that ranks the methods, in the column's own direction")
    sensitive: Annotated[tuple[ConceptId, ...], Distinct] = Field(
        (), description="concepts whose images a report blurs until its reader asks for them"
    )
    presets: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="method -> parameters that differ from the method's defaults in this suite"
    )
    controls: Annotated[tuple[Ref, ...], AfterValidator(_distinct_rows)] = Field(
        (), description="controls that every run of the suite has, beside unedited and prompt-swap"
    )
    cost: Cost | None = Field(None, description="for the estimate of `run --dry-run`")

    @model_validator(mode="after")
    def _forget_is_evaluated(self) -> Suite:
        missing = [c for c in self.forget if c not in self.evaluate]
        if missing:
            raise ValueError(f"forget names concepts that evaluate lacks: {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _retain_seed_is_sampled(self) -> Suite:
        if self.retain.seed is not None and self.retain.seed not in self.seeds:
            raise ValueError(f"retain.seed is none of seeds: {self.retain.seed}")
        return self


# ---------------------------------------------------------------- tasks: what a key is made of
class Origin(Frozen):
    """Which code made a result: a plugin's distribution, version and the digest of its source files."""

    distribution: str
    version: str
    source: str = Field(description="tagged digest of the distribution's python files")


class EditTask(Frozen):
    """One edit of the pristine base model."""

    method: str
    origin: Origin
    params: dict[str, Any] = Field(description="all parameters, defaults included")
    request: Request
    model: str = Field(description="fingerprint of the base model")
    seed: int = Field(ge=0, description="seed of the method's own randomness")
    dtype: Dtype = "float32"
    reads: dict[str, str] = Field(
        default_factory=dict,
        exclude_if=left_out,
        description="digests of what the method reads besides (`Params.reads`)",
    )

    def key(self) -> str:
        """Return the edit key."""
        return digest({"stage": "edit", **self.model_dump(mode="json")})


class SampleTask(Frozen):
    """Images of one list of prompts by one edited model; `edit` is None for the unedited model."""

    model: str = Field(description="fingerprint of the base model")
    edit: str | None = Field(description="edit key")
    prompts: tuple[str, ...] = Field(min_length=1)
    seeds: Seeds
    sampler: SamplerSpec
    dtype: Dtype = Field("float32", description="what the weights are kept in")

    @property
    def images(self) -> int:
        """Return how many images the task makes."""
        return len(self.prompts) * len(self.seeds)

    def key(self) -> str:
        """Return the sample key."""
        return digest({"stage": "sample", **self.model_dump(mode="json")})


class Judged(Frozen):
    """Which evaluator answers, and what it is asked: part of the key of every answer."""

    evaluator: str
    origin: Origin
    params: dict[str, Any]
    fingerprint: str = Field(description="digest of the evaluator's weights")
    question: Question


class ScoreTask(Judged):
    """The judge's answers for all images of one sample task."""

    sample: str = Field(description="sample key")

    def key(self) -> str:
        """Return the score key."""
        return digest({"stage": "score", **self.model_dump(mode="json")})


class SetScoreTask(Judged):
    """The comparison of the images of one sample task with those of the unedited model."""

    edited: str = Field(description="sample key")
    reference: str = Field(description="sample key of the unedited model")

    def key(self) -> str:
        """Return the key of the comparison."""
        return digest({"stage": "set-score", **self.model_dump(mode="json")})


class CalibrationTask(Judged):
    """The judge's answers about one concept for images of known content."""

    images: str = Field(description="digest of the pixels of all images, each with whether it shows the concept")

    def key(self) -> str:
        """Return the calibration key."""
        return digest({"stage": "calibration", **self.model_dump(mode="json")})
