"""Debiasing: how far the attributes that a judge saw are from the desired shares.

Delta of a concept is Σ_k |p_k − d_k| over its attributes, p_k the share of images that show attribute k among those in
which one was seen, d_k the desired share. For two attributes that should be equally frequent it is the Δ of
Gandikota et al., Unified Concept Editing in Diffusion Models (2023): |p_des − p_act| / p_des.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from unlearnbench.stats.resampling import Labels, Weights, concept_rates, label_array

if TYPE_CHECKING:
    import pandas as pd

    from unlearnbench.stats.formulas import Floats


class Balance:
    """The attributes that were seen in images of the forgotten concepts.

    Args:
        scores: valid scores table.

    Attributes:
        desired: [attribute, forget] desired share; 0 where the concept has no such attribute. The last row stands for
            the attributes of a concept that no image of any method shows.
        seen: [method, forget] number of images in which an attribute was seen.
    """

    def __init__(self, scores: pd.DataFrame) -> None:
        own = scores[(scores["role"] == "forget") & scores["attribute"].notna()]
        labels = label_array(scores)
        self._indicators: list[Labels] = []
        names = sorted(set(own["attribute"]))
        self.desired = np.zeros((len(names) + 1, len(labels.forget)))
        for number, name in enumerate(names):
            shown = (scores["attribute"] == name).astype("boolean").where(scores["attribute"].notna())
            self._indicators.append(label_array(scores.assign(label=shown)))
            of_concept = own[own["attribute"] == name].groupby("forget")["desired"].first()
            self.desired[number] = [of_concept.get(concept, 0.0) for concept in labels.forget]
        self.desired[-1] = 1.0 - self.desired.sum(axis=0)
        counted = own.groupby(["method", "forget"]).size()
        self.seen = np.array([[float(counted.get((m, e), 0)) for e in labels.forget] for m in labels.methods])

    def shares(self, weights: Weights) -> Floats:
        """Return p_k, [attribute, draw, method, forget]; NaN where no attribute was seen."""
        found = [1.0 - concept_rates(labels, "forget", weights) for labels in self._indicators]
        return np.stack([*found, 0.0 * found[0]])

    def delta(self, shares: Floats) -> Floats:
        """Return Δ, [draw, method, forget]."""
        gaps: Floats = np.abs(shares - self.desired[:, None, None, :]).sum(axis=0)
        return gaps

    def corrected(self, shares: Floats) -> Floats:
        """Return Δ without what chance adds, [draw, method, forget].

        E (p_k − d_k)² of n images is too large by p_k (1 − p_k) / n, of which p_k (1 − p_k) / (n − 1) is an unbiased
        estimate. For two attributes with d = ½ that gives Δ² = (n Δ̂² − 1) / (n − 1), cut to 0 from below. NaN for fewer
        than two images.
        """
        n = np.where(self.seen > 1.0, self.seen, np.nan)
        square = (shares - self.desired[:, None, None, :]) ** 2 - shares * (1.0 - shares) / (n - 1.0)
        gaps: Floats = np.sqrt(np.maximum(square, 0.0)).sum(axis=0)
        return gaps

    def floor(self) -> Floats:
        """Return the Δ to be expected of balanced images, Σ_k √(2 d_k (1 − d_k) / (π n)), [method, forget]."""
        expected: Floats = noise_floor(self.desired[:, None, :], self.seen).sum(axis=0)
        return expected


def noise_floor(desired: Floats, n: Floats) -> Floats:
    """Return E |p − d| for the share p of n images that each show an attribute with probability d.

    The number of images may be 0: then it is NaN. The binomial distribution is taken for a normal one.
    """
    images = np.where(n > 0.0, n, np.nan)
    expected: Floats = np.sqrt(2.0 * desired * (1.0 - desired) / (np.pi * images))
    return expected
