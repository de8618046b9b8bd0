"""The set evaluator `drift`: how far the images of an edited model are from the unedited model's, seed for seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from unlearnbench.api import Params, SetEvaluator, SetScore
from unlearnbench.identity import digest
from unlearnbench_clip.evaluator import Clip
from unlearnbench_clip.params import ClipParams
from unlearnbench_drift.identity import identify
from unlearnbench_drift.params import DriftParams
from unlearnbench_drift.pixels import is_blank, mse, pixels, ssim
from unlearnbench_drift.sets import diversity, frechet, kid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from unlearnbench.api import EvaluatorContext, Question, Sample, SetMetric
    from unlearnbench_clip.classifier import Classifier
    from unlearnbench_drift.extras import Inception, Lpips

    Floats = NDArray[np.float64]


class Drift(SetEvaluator[DriftParams]):
    """Compare two sets of images pair by pair, and as wholes, in pixels and in the features of a CLIP model.

    Source: Binkowski et al., Demystifying MMD GANs (2018), arXiv:1801.01401, for the kernel distance; Wang et al.
    (2004) for SSIM; Hessel et al., CLIPScore (2021), arXiv:2104.08718, with the weight 100 and the bare prompt.
    """

    params_type: ClassVar[type[Params]] = DriftParams

    def __init__(self, params: DriftParams) -> None:
        super().__init__(params)
        self._clip = Clip(ClipParams(model=params.model, revision=params.revision))

    def fingerprint(self) -> str:
        """Return the digest of the CLIP model's files, of what counts as blank, and of the weights of further metrics.

        Raises:
            PrerequisiteError: the package of a further metric is not installed.
        """
        extras = {extra: identify(extra) for extra in sorted(set(self.params.extras))}
        return digest({"features": self._clip.fingerprint(), "blank": self.params.blank, "extras": extras})

    def setup(self, ctx: EvaluatorContext) -> None:
        """Load the CLIP model in float32, and what further metrics need."""
        from unlearnbench_clip.classifier import Classifier
        from unlearnbench_drift.extras import load_inception, load_lpips

        self._classifier: Classifier = Classifier(self._clip.folder, ctx.device)
        self._lpips: Lpips | None = load_lpips(ctx.device) if "lpips" in self.params.extras else None
        self._inception: Inception | None = load_inception(ctx.device) if "fid" in self.params.extras else None

    def score_set(self, edited: Sequence[Sample], reference: Sequence[Sample], question: Question) -> SetScore:
        """Return values of every pair whose two images can be read; NaN for the others."""
        found = _Found()
        for start in range(0, len(edited), self.params.batch_size):
            batch = range(start, min(start + self.params.batch_size, len(edited)))
            pairs = [(i, pixels(edited[i].image), pixels(reference[i].image)) for i in batch]
            read = [(i, one, other) for i, one, other in pairs if one is not None and other is not None]
            if read:
                self._compare(edited, reference, read, found)
        features, base = found.stacked("edited"), found.stacked("reference")
        sound = np.isfinite(features).all(axis=1) & np.isfinite(base).all(axis=1)
        whole: dict[SetMetric, float] = {
            "kid": kid(features[sound], base[sound]),
            "diversity": diversity(features[sound]),
        }
        if self._inception is not None:
            whole["fid"] = frechet(found.stacked("inception of edited"), found.stacked("inception of reference"))
        images = {name: _spread(found.values.get(name, []), found.places, len(edited)) for name in self._per_image()}
        return SetScore(images=images, whole=whole)

    def _per_image(self) -> tuple[SetMetric, ...]:
        always: tuple[SetMetric, ...] = ("drift_mse", "drift_ssim", "feature_distance", "clip_score", "blank_rate")
        return always if self._lpips is None else (*always, "lpips")

    def _compare(
        self, edited: Sequence[Sample], reference: Sequence[Sample], read: Sequence[tuple[int, Floats, Floats]],
        found: _Found,
    ) -> None:  # fmt: skip
        """Add what a batch of pairs tells; their pixels are not kept, so that a set can be of any size."""
        places = [i for i, _, _ in read]
        ones, others = [one for _, one, _ in read], [other for _, _, other in read]
        features, base = (self._features([samples[i] for i in places]) for samples in (edited, reference))
        # The unedited model's prompt: an edit may have the harness rewrite its own.
        texts = self._texts([reference[i].prompt for i in places])
        found.places += places
        found.add("drift_mse", [mse(one, other) for one, other in zip(ones, others, strict=True)])
        found.add("drift_ssim", [ssim(one, other) for one, other in zip(ones, others, strict=True)])
        found.add("feature_distance", (1.0 - (features * base).sum(axis=1)).clip(0.0, 2.0).tolist())
        found.add("clip_score", (100.0 * (features * texts).sum(axis=1).clip(0.0, 1.0)).tolist())
        found.add("blank_rate", [float(is_blank(one, self.params.blank)) for one in ones])
        found.keep("edited", features)
        found.keep("reference", base)
        if self._lpips is not None:
            found.add("lpips", self._lpips.distances(ones, others))
        if self._inception is not None:
            found.keep("inception of edited", self._inception.features(ones))
            found.keep("inception of reference", self._inception.features(others))

    def _features(self, samples: Sequence[Sample]) -> Floats:
        """Return the unit features of readable images, [n, d]."""
        found: Floats = self._classifier.embed_images([sample.image for sample in samples])[1].double().cpu().numpy()
        return found

    def _texts(self, prompts: Sequence[str]) -> Floats:
        """Return the unit features of prompts, [n, d]; each text is encoded alone, so that none depends on another."""
        known = {prompt: self._classifier.embed_texts((prompt,))[0].double().cpu().numpy() for prompt in set(prompts)}
        return np.stack([known[prompt] for prompt in prompts])


@dataclass
class _Found:
    """What was found so far: places of the pairs that could be read, their values, and features by whose they are."""

    places: list[int] = field(default_factory=list)
    values: dict[SetMetric, list[float]] = field(default_factory=dict)
    features: dict[str, list[Floats]] = field(default_factory=dict)

    def add(self, metric: SetMetric, values: Sequence[float]) -> None:
        """Add a value for each pair of a batch."""
        self.values.setdefault(metric, []).extend(values)

    def keep(self, whose: str, features: Floats) -> None:
        """Keep the features of a batch, [n, d]."""
        self.features.setdefault(whose, []).append(features)

    def stacked(self, whose: str) -> Floats:
        """Return all features that were kept, [n, d]."""
        return np.concatenate(self.features[whose]) if whose in self.features else np.empty((0, 1))


def _spread(values: Sequence[float], kept: Sequence[int], n: int) -> tuple[float, ...]:
    """Return one value an image, NaN for those that were left out."""
    found = [math.nan] * n
    for place, value in zip(kept, values, strict=True):
        found[place] = value
    return tuple(found)
