from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from unlearnbench.stats import intervals
from unlearnbench.stats.formulas import harmonic_mean, linearised_harmonic_mean, linearised_ratio
from unlearnbench.stats.intervals import percentile_interval, t_interval, wilson_interval

shares = st.floats(0.0, 1.0)


# ---------------------------------------------------------------- formulas
@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=5))
def test_harmonic_mean_is_the_harmonic_mean(values):
    assert float(harmonic_mean(*values)) == pytest.approx(statistics.harmonic_mean(values))


@given(shares)
def test_harmonic_mean_with_zero_is_zero(value):
    assert float(harmonic_mean(value, 0.0)) == 0.0
    assert float(harmonic_mean(0.0, value)) == 0.0
    assert np.isnan(harmonic_mean(value, np.nan))


@given(shares, shares)
def test_harmonic_mean_lies_between_its_values_and_below_their_mean(a, b):
    mean = float(harmonic_mean(a, b))
    assert min(a, b) - 1e-12 <= mean <= (a + b) / 2 + 1e-12


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_interval_is_that_of_scipy(hits, n):
    hits = min(hits, n)
    expected = scipy.stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_interval_without_images_is_unknown():
    assert np.isnan(wilson_interval(0, 0)).all()


@given(st.lists(shares, min_size=2, max_size=12))
def test_t_interval_is_that_of_scipy_cut_to_shares(values):
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    expected = (max(0.0, np.mean(values) - half), min(1.0, np.mean(values) + half))
    assert t_interval([*values, np.nan]) == pytest.approx(expected, abs=1e-9)


def test_t_interval_of_one_concept_is_unknown():
    assert np.isnan(t_interval([0.4])).all()
    assert np.isnan(t_interval([0.4, np.nan])).all()


@given(st.lists(st.tuples(shares, shares), min_size=2, max_size=6))
def test_linearised_values_have_the_harmonic_mean_of_means_as_mean(pairs):
    forget, retain = np.array(pairs).T
    expected = float(harmonic_mean(forget.mean(), retain.mean()))
    assert linearised_harmonic_mean(forget, retain).mean() == pytest.approx(expected, abs=1e-9)


def test_linearised_values_have_the_slopes_of_the_harmonic_mean():
    forget, retain, step = np.array([0.5, 0.7]), np.array([0.8, 0.9]), 1e-6
    numeric = (harmonic_mean(0.6 + step, 0.85) - harmonic_mean(0.6 - step, 0.85)) / (2 * step)
    moved = linearised_harmonic_mean(forget, np.array([0.85, 0.85]))
    assert (moved[1] - moved[0]) / 0.2 == pytest.approx(numeric, rel=1e-4)
    moved = linearised_harmonic_mean(np.array([0.6, 0.6]), retain)
    numeric = (harmonic_mean(0.6, 0.85 + step) - harmonic_mean(0.6, 0.85 - step)) / (2 * step)
    assert (moved[1] - moved[0]) / 0.1 == pytest.approx(numeric, rel=1e-4)


def test_percentile_interval_leaves_undefined_draws_out():
    assert percentile_interval([np.nan, *np.linspace(0.0, 1.0, 41)]) == pytest.approx((0.025, 0.975))
    assert np.isnan(percentile_interval([np.nan])).all()


@given(st.lists(st.tuples(shares, st.floats(0.1, 1.0)), min_size=2, max_size=6))
def test_linearised_values_have_the_ratio_of_means_as_mean(pairs):
    numerator, denominator = np.array(pairs).T
    found = linearised_ratio(numerator, denominator)
    assert found.mean() == pytest.approx(numerator.mean() / denominator.mean(), abs=1e-9)
    same = linearised_ratio(0.5 * denominator, denominator)
    assert same == pytest.approx(0.5)  # a ratio that is the same for every concept does not vary


def test_linearised_values_have_the_slopes_of_the_ratio():
    numerator, denominator, step = np.array([0.2, 0.4]), np.array([0.5, 0.9]), 1e-6
    found = linearised_ratio(numerator, denominator)
    for e in range(2):
        # Moving one concept by a step in weight moves the ratio by its value less the mean, over the number.
        weight = np.full(2, 0.5)
        weight[e] += step
        moved = (weight @ numerator) / (weight @ denominator) - numerator.mean() / denominator.mean()
        assert (found[e] - found.mean()) * step == pytest.approx(moved, rel=1e-3)
    assert np.isnan(linearised_ratio([0.1, 0.2], [0.0, 0.0])).all()


def test_t_interval_is_cut_to_its_range():
    assert t_interval([-0.9, 0.9], low=-1.0) == (-1.0, 1.0)
    assert t_interval([1.0, 1.4], high=math.inf)[1] > 1.4


def test_stats_say_at_which_level_they_are():
    assert intervals.LEVEL == 0.95
    narrow, wide = wilson_interval(5, 10, 0.5), wilson_interval(5, 10, 0.99)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]
