"""The scores table as an array, and its hierarchical paired bootstrap: one set of draws for all methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from unlearnbench.api import PromptKind
    from unlearnbench.stats.formulas import Floats

Rate = Literal["forget", "retain", "forget_direct", "forget_indirect", "forget_adversarial", "neighbour", "unrelated"]
RATES: Final[tuple[Rate, ...]] = get_args(Rate)
PROMPT_KIND: Final[dict[Rate, PromptKind]] = {
    "forget_direct": "direct", "forget_indirect": "indirect", "forget_adversarial": "adversarial",
}  # fmt: skip
_CHUNK: Final = 256


# ---------------------------------------------------------------- the table as an array
@dataclass(frozen=True)
class Labels:
    """The judge's decisions as an array; all axes are sorted, so the order of the rows of the table is immaterial.

    Attributes:
        methods: row labels, controls included.
        forget: forgotten concepts.
        concepts: concepts that images were made of; usually a superset of `forget`.
        prompt_kinds: kind of each prompt; prompt i of one concept is paired with prompt i of another.
        shows: [method, forget, concept, method seed, prompt, seed] 1 = the image shows the concept, 0 = it does not,
            NaN = unscored, failed or not part of the suite.
        role: "forget" | "retain" | "neighbour" -> [forget, concept] which pairs count; neighbours are retained, too.
    """

    methods: tuple[str, ...]
    forget: tuple[str, ...]
    concepts: tuple[str, ...]
    prompt_kinds: tuple[str, ...]
    shows: NDArray[np.float32]
    role: dict[str, NDArray[np.bool_]]

    def pairs(self, rate: Rate) -> NDArray[np.bool_]:
        """Return [forget, concept]: the pairs whose images enter `rate`."""
        if rate == "unrelated":
            return self.role["retain"] & ~self.role["neighbour"]
        return self.role["forget" if rate.startswith("forget") else rate]

    def prompt_mask(self, rate: Rate) -> Floats:
        """Return [prompt]: 1 for the prompts that enter `rate`."""
        kind = PROMPT_KIND.get(rate)
        return np.array([1.0 if kind in (None, k) else 0.0 for k in self.prompt_kinds])


def label_array(scores: pd.DataFrame) -> Labels:
    """Return the decisions of a valid scores table of one suite, protocol and judge as an array.

    A method with a single method seed is repeated along that axis: the same edit stands beside each seed of the others.
    So are images of a single sampling seed, where the suite samples what is retained once and what is forgotten more
    often.
    """
    prompt = [
        f"{kind}/{i.rpartition('/')[2]}" for kind, i in zip(scores["prompt_kind"], scores["prompt_id"], strict=True)
    ]
    axes = [
        pd.Categorical(column)
        for column in (
            scores["method"],
            scores["forget"],
            scores["concept"],
            scores["method_seed"],
            prompt,
            scores["seed"],
        )
    ]
    index = tuple(axis.codes for axis in axes)
    values = np.full([len(axis.categories) for axis in axes], np.nan, dtype=np.float32)
    values[index] = scores["label"].astype("Float32").to_numpy(dtype=np.float32, na_value=np.nan)
    sampled = np.zeros(values.shape[0:1] + values.shape[3:4], dtype=bool)
    sampled[index[0], index[3]] = True
    for method in np.flatnonzero(sampled.sum(axis=1) == 1):
        values[method] = values[method][:, :, sampled[method]]
    _repeat_single_seeds(values, index)
    role = {}
    for name, rows in {
        "forget": scores["role"] == "forget",
        "retain": scores["role"] == "retain",
        "neighbour": (scores["role"] == "retain") & scores["neighbour"],
    }.items():
        role[name] = np.zeros(values.shape[1:3], dtype=bool)
        role[name][index[1][rows], index[2][rows]] = True
    methods, forget, concepts, _, prompts, _ = (tuple(str(c) for c in axis.categories) for axis in axes)
    kinds = tuple(p.partition("/")[0] for p in prompts)
    return Labels(methods, forget, concepts, kinds, values, role)


def _repeat_single_seeds(values: NDArray[np.float32], index: Sequence[NDArray[np.integer[Any]]]) -> None:
    """Repeat images of one sampling seed along the axis of seeds, which is the last, for each pair of concepts."""
    _, forget, concept, _, _, seed = index
    sampled = np.zeros((*values.shape[1:3], values.shape[5]), dtype=bool)
    sampled[forget, concept, seed] = True
    for e, c in np.argwhere(sampled.sum(axis=2) == 1):
        values[:, e, c] = values[:, e, c][..., sampled[e, c]]


# ---------------------------------------------------------------- resampling
@dataclass(frozen=True)
class Weights:
    """How often each concept, method seed, prompt and seed occurs in each draw; the same for every method.

    Attributes:
        forget: [draw, forget]; a forgotten concept weighs as much as the same concept does in `concepts`.
        concepts: [draw, concept].
        method_seeds: [draw, method seed].
        prompts: [draw, prompt].
        seeds: [draw, seed].
    """

    forget: Floats
    concepts: Floats
    method_seeds: Floats
    prompts: Floats
    seeds: Floats

    def part(self, draws: slice) -> Weights:
        """Return some of the draws."""
        return Weights(
            self.forget[draws], self.concepts[draws], self.method_seeds[draws], self.prompts[draws], self.seeds[draws]
        )


def unit_weights(labels: Labels) -> Weights:
    """Return one draw that holds everything once: its means are the values on the board."""
    return Weights(*(np.ones((1, n)) for n in labels.shows.shape[1:]))


def resample(labels: Labels, generator: np.random.Generator, draws: int = 2000) -> Weights:
    """Draw concepts, prompts and seeds with replacement (hierarchical paired bootstrap).

    Concepts that are forgotten and concepts that are only retained are drawn apart, and so are the kinds of prompts:
    their numbers are fixed by the suite. A concept that is drawn twice counts twice, and is never part of its
    own retain set. What one axis draws does not depend on the length of another.
    """
    concepts, others, prompts, seeds, method_seeds = generator.spawn(5)
    names = sorted({*labels.forget, *labels.concepts})
    stratum = ["forget" if name in labels.forget else "other" for name in names]
    weight = dict(zip(names, _draw(stratum, {"forget": concepts, "other": others}, draws).T, strict=True))
    kinds = sorted(set(labels.prompt_kinds))
    by_kind = dict(zip(kinds, prompts.spawn(len(kinds)), strict=True))
    return Weights(
        np.stack([weight[name] for name in labels.forget], axis=1),
        np.stack([weight[name] for name in labels.concepts], axis=1),
        _draw([""] * labels.shows.shape[3], {"": method_seeds}, draws),
        _draw(labels.prompt_kinds, by_kind, draws),
        _draw([""] * labels.shows.shape[5], {"": seeds}, draws),
    )


def _draw(strata: Sequence[str], generators: dict[str, np.random.Generator], draws: int) -> Floats:
    """Return [draw, item]: how often each item is drawn, with replacement within its stratum."""
    weights = np.zeros((draws, len(strata)))
    for name, generator in generators.items():
        members = [i for i, stratum in enumerate(strata) if stratum == name]
        if members:
            n = len(members)
            weights[:, members] = generator.multinomial(n, np.full(n, 1.0 / n), size=draws)
    return weights


# ---------------------------------------------------------------- means
def concept_rates(labels: Labels, rate: Rate, weights: Weights) -> Floats:
    """Return [draw, method, forget]: the rate of each forgotten concept, its images pooled; NaN = no scored image."""
    e, c = np.nonzero(labels.pairs(rate))
    methods, forget = len(labels.methods), len(labels.forget)
    result = np.full((len(weights.forget), methods, forget), np.nan)
    if not e.size:
        return result
    values = labels.shows[:, e, c].reshape(methods * e.size, -1)
    scored = ~np.isnan(values)
    shows = np.where(scored, values, np.float32(0.0))
    # Counts below 2**24 are exact in float32, so the result is the same on every machine.
    prompts = weights.prompts * labels.prompt_mask(rate)
    image = np.einsum("dr,dp,ds->drps", weights.method_seeds, prompts, weights.seeds)
    image = image.reshape(len(image), -1).astype(np.float32)
    member = (e[:, None] == np.arange(forget)).astype(np.float64)
    for start in range(0, len(image), _CHUNK):
        part = slice(start, start + _CHUNK)
        often = weights.concepts[part][:, None, c]
        shown = ((image[part] @ shows.T).reshape(-1, methods, e.size) * often) @ member
        total = ((image[part] @ scored.T.astype(np.float32)).reshape(-1, methods, e.size) * often) @ member
        np.divide(shown, total, out=result[part], where=total > 0.0)
    return 1.0 - result if rate.startswith("forget") else result


def macro_mean(rates: Floats, weights: Weights) -> Floats:
    """Return [draw, method]: the mean of [draw, method, forget] rates over the concepts that have one."""
    weight = np.where(np.isnan(rates), 0.0, weights.forget[:, None, :])
    total = weight.sum(axis=2)
    mean = np.full(total.shape, np.nan)
    np.divide((np.nan_to_num(rates) * weight).sum(axis=2), total, out=mean, where=total > 0.0)
    return mean
