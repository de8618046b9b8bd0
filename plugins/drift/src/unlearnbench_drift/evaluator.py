"""The set evaluator `drift`: how far the images of an edited model are from the unedited model's, seed for seed."""

from __future__ import annotations

import math
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
        sets = [[pixels(sample.image) for sample in samples] for samples in (edited, reference)]
        read = [
            (i, one, other)
            for i, (one, other) in enumerate(zip(*sets, strict=True))
            if one is not None and other is not None
        ]
        kept = [i for i, _, _ in read]
        features, base = (self._features([samples[i] for i in kept]) for samples in (edited, reference))
        # The unedited model's prompt: an edit may have the harness rewrite its own.
        texts = self._texts([reference[i].prompt for i in kept])
        sound = np.isfinite(features).all(axis=1) & np.isfinite(base).all(axis=1)
        found: dict[SetMetric, list[float]] = {
            "drift_mse": [mse(one, other) for _, one, other in read],
            "drift_ssim": [ssim(one, other) for _, one, other in read],
            "feature_distance": (1.0 - (features * base).sum(axis=1)).clip(0.0, 2.0).tolist(),
            "clip_score": (100.0 * (features * texts).sum(axis=1).clip(0.0, 1.0)).tolist(),
            "blank_rate": [float(is_blank(one, self.params.blank)) for _, one, _ in read],
        }
        whole: dict[SetMetric, float] = {
            "kid": kid(features[sound], base[sound]),
            "diversity": diversity(features[sound]),
        }
        self._further(read, found, whole)
        return SetScore(
            images={name: _spread(values, kept, len(edited)) for name, values in found.items()}, whole=whole
        )

    def _features(self, samples: Sequence[Sample]) -> Floats:
        """Return the unit features of readable images, [n, d]."""
        parts = []
        for start in range(0, len(samples), self.params.batch_size):
            images = [sample.image for sample in samples[start : start + self.params.batch_size]]
            parts.append(self._classifier.embed_images(images)[1].double().cpu().numpy())
        return np.concatenate(parts) if parts else np.empty((0, 1))

    def _texts(self, prompts: Sequence[str]) -> Floats:
        """Return the unit features of prompts, [n, d]; each text is encoded alone, so that none depends on another."""
        known = {prompt: self._classifier.embed_texts((prompt,))[0].double().cpu().numpy() for prompt in set(prompts)}
        return np.stack([known[prompt] for prompt in prompts]) if prompts else np.empty((0, 1))

    def _further(
        self, read: Sequence[tuple[int, Floats, Floats]], found: dict[SetMetric, list[float]],
        whole: dict[SetMetric, float],
    ) -> None:  # fmt: skip
        """Add the metrics that were asked for besides."""
        edited, reference = [one for _, one, _ in read], [other for _, _, other in read]
        if self._lpips is not None:
            found["lpips"] = self._lpips.distances(edited, reference)
        if self._inception is not None:
            whole["fid"] = frechet(self._inception.features(edited), self._inception.features(reference))


def _spread(values: Sequence[float], kept: Sequence[int], n: int) -> tuple[float, ...]:
    """Return one value an image, NaN for those that were left out."""
    found = [math.nan] * n
    for place, value in zip(kept, values, strict=True):
        found[place] = value
    return tuple(found)
