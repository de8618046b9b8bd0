"""The maths of calibration against small oracles and simulations: a judge with known errors, many times over."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as distributions

from tests.scoretables import score_table
from unlearnbench.calibration.agreement import agree, cohens_kappa, pairwise
from unlearnbench.calibration.corrected import correct
from unlearnbench.calibration.prevalence import lang_reiczigel, rogan_gladen
from unlearnbench.calibration.rates import (
    Rate,
    auroc,
    best_threshold,
    expected_calibration_error,
    measure,
    pooled,
    reliability,
)

RUNS = 1500
TOLERANCE = 3.0 * math.sqrt(0.95 * 0.05 / RUNS)  # three standard errors of a simulated coverage


def rate(hits, n):
    return Rate(value=hits / n, lo=None, hi=None, hits=int(hits), n=n)


def answers(truth, label, p_yes=None):
    label = np.asarray(label, dtype=float)
    p_yes = np.where(np.isnan(label), np.nan, 0.1 + 0.8 * label) if p_yes is None else p_yes
    return pd.DataFrame({"truth": np.asarray(truth, dtype=bool), "label": label, "p_yes": p_yes})


def noisy(random, truth, sensitivity, specificity):
    """Return the labels of a judge that is wrong as often as it says."""
    return np.where(random.random(len(truth)) < np.where(truth, sensitivity, specificity), truth, ~truth).astype(float)


# ---------------------------------------------------------------- rates
def test_rates_count_what_was_scored():
    found = measure(answers([1, 1, 1, 0, 0, 0, 0], [1, 0, math.nan, 0, 0, 1, 0]), "dog", "object")
    assert (found.sensitivity.hits, found.sensitivity.n) == (1, 2)
    assert (found.specificity.hits, found.specificity.n) == (3, 4)
    assert found.youden == pytest.approx(0.5 + 0.75 - 1.0)
    assert found.unscored == 1
    assert found.judgeable is False


@pytest.mark.parametrize(("truth", "known"), [([1, 1], False), ([0, 0], False), ([1, 0], True), ([], False)])
def test_without_images_of_both_kinds_nothing_is_judged(truth, known):
    found = measure(answers(truth, truth), "dog", "object")
    assert (found.youden is not None) is known
    assert (found.judgeable is True) is known
    assert (found.auroc is not None) is known
    assert (found.threshold is not None) is known


def test_a_judge_that_answers_nothing_has_no_rate():
    found = measure(answers([1, 0], [math.nan, math.nan]), "dog", "object")
    assert found.unscored == 2
    assert [found.sensitivity.value, found.youden, found.auroc, found.ece, found.judgeable] == [None] * 5


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_pairs_in_order(pairs):
    p, truth = np.array([a / 20 for a, _ in pairs]), np.array([b for _, b in pairs])
    found = auroc(p, truth)
    if truth.all() or not truth.any():
        assert found is None
    else:
        pairs = [(a > b) + (a == b) / 2 for a in p[truth] for b in p[~truth]]
        assert found == pytest.approx(np.mean(pairs))
        u = distributions.mannwhitneyu(p[truth], p[~truth]).statistic
        assert found == pytest.approx(u / (truth.sum() * (~truth).sum()))


def test_the_calibration_error_is_that_of_ten_bins():
    random = np.random.default_rng(3)
    p = random.random(500)
    truth = random.random(500) < p**2
    own = [(p >= i / 10) & (p < (i + 1) / 10) for i in range(10)]
    bins = reliability(p, truth)
    assert [one.n for one in bins] == [one.sum() for one in own]
    assert [one.share for one in bins] == pytest.approx([truth[one].mean() for one in own])
    assert [one.mean for one in bins] == pytest.approx([p[one].mean() for one in own])
    expected = sum(abs(truth[one].sum() - p[one].sum()) for one in own) / 500
    assert expected_calibration_error(p, truth) == pytest.approx(expected)
    assert expected_calibration_error([0.0, 1.0, 1.0], [False, True, True]) == 0.0
    assert expected_calibration_error([], []) is None


def test_pooled_bins_hold_all_images():
    random = np.random.default_rng(4)
    parts = []
    for n in (30, 50):
        p = random.random(n)
        truth = random.random(n) < p
        parts.append((p, truth))
    each = [measure(answers(t, p > 0.5, p), "c", "object") for p, t in parts]
    whole = reliability(*(np.concatenate(x) for x in zip(*parts, strict=True)))
    for one, expected in zip(pooled(each), whole, strict=True):
        assert (one.n, one.share) == (expected.n, expected.share)
        assert one.mean == (None if expected.mean is None else pytest.approx(expected.mean))


@given(st.lists(st.tuples(st.integers(1, 19), st.booleans()), min_size=2, max_size=30))
def test_no_threshold_is_better_than_the_best_one(pairs):
    p, truth = np.array([a / 20 for a, _ in pairs]), np.array([b for _, b in pairs])
    threshold, best = best_threshold(p, truth)
    if threshold is None:
        assert len(set(p)) == 1 or truth.all() or not truth.any()
        return

    def youden(t):
        return (p[truth] >= t).mean() + (p[~truth] < t).mean() - 1.0

    assert youden(threshold) == pytest.approx(best)
    # Between the values; saying always or never yes has J = 0 and is no threshold.
    assert best >= max(youden(a / 40) for a in range(1, 40) if min(p) < a / 40 <= max(p)) - 1e-12


# ---------------------------------------------------------------- prevalence
@given(st.floats(0, 1), st.floats(0.55, 1), st.floats(0.55, 1))
def test_the_correction_inverts_the_errors(share, sensitivity, specificity):
    said = share * sensitivity + (1 - share) * (1 - specificity)
    assert rogan_gladen(said, sensitivity, specificity) == pytest.approx(share, abs=1e-9)


def test_a_judge_like_a_coin_corrects_nothing():
    assert math.isnan(rogan_gladen(0.5, 0.5, 0.5))
    assert lang_reiczigel(5, 10, rate(5, 10), rate(5, 10)) == (0.0, 1.0)
    assert all(map(math.isnan, lang_reiczigel(0, 0, rate(5, 10), rate(5, 10))))


def test_the_interval_of_a_judge_without_errors_is_near_agresti_and_coulls():
    lo, hi = lang_reiczigel(30, 100, rate(10**7, 10**7), rate(10**7, 10**7))
    p, n, z = (30 + 1.96**2 / 2) / (100 + 1.96**2), 100 + 1.96**2, 1.96
    half = z * math.sqrt(p * (1 - p) / n)
    assert (lo, hi) == pytest.approx((p - half, p + half), abs=1e-4)


@settings(max_examples=50)
@given(st.integers(0, 50), st.integers(30, 50), st.integers(30, 50))
def test_the_interval_lies_in_its_range_and_shrinks_with_more_calibration(hits, right, right_too):
    lo, hi = lang_reiczigel(hits, 50, rate(right, 50), rate(right_too, 50))
    assert 0.0 <= lo <= hi <= 1.0
    loud, sure = lang_reiczigel(hits, 50, rate(100 * right, 5000), rate(100 * right_too, 5000))
    inside = lo > 0.0 and hi < 1.0 and loud > 0.0 and sure < 1.0
    assert not inside or sure - loud <= hi - lo + 1e-9


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.95, 0.98), (0.85, 0.9), (0.7, 0.8)])
@pytest.mark.parametrize(("n", "known"), [(20, 50), (40, 200)])
def test_a_noisy_judge_is_corrected_and_the_interval_covers(share, sensitivity, specificity, n, known):
    random = np.random.default_rng([n, known, round(100 * share), round(100 * sensitivity)])
    said = share * sensitivity + (1 - share) * (1 - specificity)
    covered, estimates = 0, []
    for _ in range(RUNS):
        hits = random.binomial(n, said)
        se, sp = rate(random.binomial(known, sensitivity), known), rate(random.binomial(known, specificity), known)
        lo, hi = lang_reiczigel(hits, n, se, sp)
        covered += lo <= share <= hi
        estimates.append(rogan_gladen(hits / n, se.value, sp.value))
    assert covered / RUNS >= 0.95 - TOLERANCE
    # Four standard errors, and the bias of a ratio, which is of the order of the variance of J.
    spread = np.std(estimates) / math.sqrt(RUNS)
    youden = sensitivity + specificity - 1
    bias = (sensitivity * (1 - sensitivity) + specificity * (1 - specificity)) / known / youden**2
    assert abs(np.mean(estimates) - share) <= 4 * spread + bias
    # As judged, it is off by much more.
    assert abs(said - share) < 0.01 or abs(np.mean(estimates) - share) < abs(said - share)


# ---------------------------------------------------------------- a board, corrected
def judged_board(random, truth_of, errors, concepts, images):
    """Return the scores of a noisy judge and its calibration, on `known` images of either kind of each concept."""

    def decide(method, forget, concept, prompt, seed):
        shows = random.random() < truth_of(method, forget, concept)
        right = random.random() < errors[concept][0 if shows else 1]
        return bool(shows == right)

    scores = score_table(["m"], concepts, decide, prompts=images, seeds=1)
    calibration = {}
    for concept in concepts:
        truth = np.repeat([True, False], 100)
        label = noisy(random, truth, *errors[concept])
        calibration[concept] = measure(answers(truth, label), concept, "object")
    return scores, calibration


def test_corrected_means_recover_the_truth_and_cover_it():
    concepts = [f"c{i}" for i in range(6)]
    random = np.random.default_rng(7)
    gone, kept = 0.25, 0.8  # still shown after forgetting; shown of what is retained
    errors = {c: (random.uniform(0.75, 0.95), random.uniform(0.75, 0.98)) for c in concepts}
    raw, found, retained, covered, runs = [], [], [], 0, 60
    for _ in range(runs):
        scores, known = judged_board(random, lambda m, e, c: gone if c == e else kept, errors, concepts, 20)
        _, (row,) = correct(scores, known)
        raw.append(row.forget)
        found.append(row.forget_corrected)
        retained.append(row.retain_corrected)
        covered += row.lo <= 1 - gone <= row.hi
    assert np.mean(found) == pytest.approx(1 - gone, abs=4 * np.std(found) / math.sqrt(runs) + 0.01)
    assert np.mean(retained) == pytest.approx(kept, abs=4 * np.std(retained) / math.sqrt(runs) + 0.01)
    assert abs(np.mean(raw) - (1 - gone)) > abs(np.mean(found) - (1 - gone))
    assert covered / runs >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)


def test_what_cannot_be_judged_is_left_out_of_the_mean_and_told():
    scores = score_table(["m"], ["a", "b"], lambda m, e, c, p, s: c != e, prompts=4, seeds=1)
    good = measure(answers([1] * 20 + [0] * 20, [1] * 20 + [0] * 20), "a", "object")
    bad = measure(answers([1] * 20 + [0] * 20, [1] * 20 + [1] * 20), "b", "object")
    assert (good.judgeable, bad.judgeable) == (True, False)
    rows, (row,) = correct(scores, {"a": good, "b": bad})
    assert (row.concepts, row.left_out, row.forget, row.forget_corrected) == (1, ("b",), 1.0, 1.0)
    assert row.retain is None  # of the only other concept nothing can be said
    assert (row.lo, row.hi) == (None, None)
    assert [(one.concept, one.value) for one in rows] == [("a", 1.0), ("b", None)]
    _, (alone,) = correct(scores, {"a": good})
    assert alone.left_out == ("b",)


# ---------------------------------------------------------------- agreement
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_kappa_is_the_agreement_beyond_chance(pairs):
    first, second = (np.array([pair[i] for pair in pairs], dtype=float) for i in (0, 1))
    found = agree(first, second, ("a", "b"))
    assert found.raw == pytest.approx((first == second).mean())
    assert found.pabak == pytest.approx(2 * found.raw - 1)
    if len({*first, *second}) == 1:
        assert found.kappa is None
    else:
        chance = np.mean([a == b for a in first for b in second])  # every answer of one with every one of the other
        assert found.kappa == pytest.approx((found.raw - chance) / (1 - chance))
    assert found.lo is None or -1.0 <= found.lo <= found.hi <= 1.0


def test_unscored_images_agree_with_nothing():
    found = agree([1, 0, math.nan, 1], [1, math.nan, 0, 1], ("a", "b"))
    assert (found.n, found.unscored, found.raw, found.kappa) == (2, 2, 1.0, None)
    none = agree([math.nan], [1], ("a", "b"))
    assert (none.n, none.raw, none.kappa, none.pabak) == (0, None, None, None)


def test_the_interval_of_kappa_covers():
    random = np.random.default_rng(5)
    table = np.array([[0.5, 0.1], [0.05, 0.35]])
    expected = float(cohens_kappa(table))
    runs, covered = 300, 0
    for _ in range(runs):
        draws = random.choice(4, 200, p=table.ravel())
        found = agree(draws < 2, draws % 2 == 0, ("a", "b"))
        covered += found.lo <= expected <= found.hi
    assert covered / runs >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)


def test_shared_images_count_once_in_all_and_in_every_method():
    table = pd.DataFrame(
        {
            "image": ["x", "x", "y"],
            "concept": ["c", "c", "d"],
            "method": ["unedited", "m", "m"],
            "label": [1.0, 1.0, 0.0],
        }
    )
    other = table.assign(label=[0.0, 0.0, 0.0])
    found = pairwise({"a": table, "b": other}, ["image", "concept"], ["method", "concept"])
    assert {(one.by, one.name): (one.n, one.raw) for one in found} == {
        ("all", ""): (2, 0.5),
        ("method", "unedited"): (1, 0.0),
        ("method", "m"): (2, 0.5),
        ("concept", "c"): (1, 0.0),
        ("concept", "d"): (1, 1.0),
    }
