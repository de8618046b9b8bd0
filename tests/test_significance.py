from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnbench.published import table
from unlearnbench.stats.formulas import harmonic_mean
from unlearnbench.stats.significance import holm, pairwise, shared_ranks, tie_groups, wilcoxon


@settings(deadline=None, max_examples=15)  # the first imports scipy.stats; ties are permuted, which takes time
@given(st.lists(st.floats(-1.0, 1.0).map(lambda x: round(x, 3)), min_size=6, max_size=9))
def test_wilcoxon_is_that_of_scipy_and_symmetric(differences):
    zero = np.zeros(len(differences))
    expected = scipy.stats.wilcoxon(differences, zero_method="zsplit").pvalue if any(differences) else 1.0
    assert wilcoxon(differences, zero) == pytest.approx(expected)
    assert wilcoxon(zero, differences) == pytest.approx(wilcoxon(differences, zero))


def test_wilcoxon_of_nothing_to_compare_is_unknown_and_of_no_difference_is_one():
    assert np.isnan(wilcoxon([0.4], [0.5]))
    assert np.isnan(wilcoxon([0.4, np.nan], [0.5, 0.6]))
    assert wilcoxon([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]) == 1.0
    assert wilcoxon([0.1 + 0.2, 0.5], [0.3, 0.5]) == 1.0  # what differs by arithmetic only is a tie


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    found = holm([float("nan"), 0.02])
    assert np.isnan(found[0])
    assert found[1] == 0.02


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_holm_only_raises_p_values_and_keeps_their_order(values):
    found = holm(values)
    assert all(after >= before for before, after in zip(values, found, strict=True))
    for i, j in combinations(range(len(values)), 2):
        if values[i] < values[j]:
            assert found[i] <= found[j]


def apart_of(count, pairs):
    return {pair: pair in pairs for pair in combinations(range(count), 2)}


def test_methods_that_are_not_told_apart_share_rank_and_letter():
    apart = apart_of(4, {(0, 2), (0, 3), (1, 3), (2, 3)})
    assert shared_ranks(4, apart) == [1, 1, 2, 4]
    assert tie_groups(4, apart) == ["a", "ab", "b", "c"]
    assert tie_groups(1, {}) == ["a"]
    assert tie_groups(3, apart_of(3, set())) == ["a", "a", "a"]


def test_being_told_apart_need_not_follow_the_order():
    apart = apart_of(3, {(0, 1)})  # the third, whose values scatter, is told apart from neither
    assert shared_ranks(3, apart) == [1, 2, 1]
    assert tie_groups(3, apart) == ["a", "b", "ab"]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_pair_shares_a_letter_exactly_if_it_is_not_told_apart(count):
    pairs = [*combinations(range(count), 2)]
    for chosen in product([False, True], repeat=len(pairs)):
        apart = dict(zip(pairs, chosen, strict=True))
        letters = tie_groups(count, apart)
        assert all(bool(set(letters[i]) & set(letters[j])) is not told for (i, j), told in apart.items())


def test_the_published_order_is_established_only_where_it_is_known_to_be():
    published = table("seed-2025")
    methods = ["AlphaEdit", "ESD", "UCE", "unedited"]
    values = {m: [r.values for r in published.rows if r.method == m] for m in methods}
    single = [harmonic_mean([v["forget"] for v in values[m]], [v["retain"] for v in values[m]]) for m in methods]
    found = pairwise(single)
    assert found[1, 2][0] == pytest.approx(0.25, abs=0.005)  # UCE and ESD are not told apart
    assert all(corrected < 0.03 for pair, (_, corrected) in found.items() if pair != (1, 2))
    apart = {pair: corrected < 0.05 for pair, (_, corrected) in found.items()}
    assert shared_ranks(4, apart) == [1, 2, 2, 4]
    assert tie_groups(4, apart) == ["a", "b", "b", "c"]
