"""The closed form against plain numpy."""

import numpy as np
import pytest
import torch

from unlearnbench_time.solve import apply, largest_share, solve

WIDTH, OUT = 24, 10
COLUMNS = [1, 5, 12, 13, 23, 24, 60]


def matrices(columns, seed=0):
    g = np.random.default_rng(seed)
    return tuple(g.normal(size=s) for s in ((OUT, WIDTH), (WIDTH, columns), (WIDTH, columns)))


def new_weight(W, C, Cs, lamb=0.1):
    C, Cs, weight = (torch.tensor(x, dtype=torch.float64) for x in (C, Cs, W))
    apply([weight], Cs - C, solve(C, lamb))
    return weight.numpy()


@pytest.mark.parametrize("columns", COLUMNS)
def test_the_formula_of_the_paper(columns):
    W, C, Cs = matrices(columns)
    lamb = 0.1
    formula = (lamb * W + (W @ Cs) @ C.T) @ np.linalg.inv(lamb * np.eye(WIDTH) + C @ C.T)
    np.testing.assert_allclose(new_weight(W, C, Cs), formula, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("columns", COLUMNS)
def test_it_is_the_minimum_of_the_objective(columns):
    W, C, Cs = matrices(columns)
    lamb = 0.7
    inputs, targets = np.hstack([C, lamb**0.5 * np.eye(WIDTH)]), np.hstack([W @ Cs, lamb**0.5 * W])
    oracle = np.linalg.lstsq(inputs.T, targets.T, rcond=None)[0].T
    np.testing.assert_allclose(new_weight(W, C, Cs, lamb), oracle, rtol=1e-9, atol=1e-9)


def test_t_uce_2_it_is_uce_without_preserved_columns():
    W, C, Cs = matrices(3)
    lamb = 0.1
    P, w_p, w_e = np.zeros((WIDTH, 0)), 1.0, 1.0
    uce = (lamb * W + w_e * W @ Cs @ C.T + w_p * W @ P @ P.T) @ np.linalg.inv(
        lamb * np.eye(WIDTH) + w_e * C @ C.T + w_p * P @ P.T
    )
    np.testing.assert_allclose(new_weight(W, C, Cs, lamb), uce, rtol=1e-9, atol=1e-10)


def test_t_uce_2_lambda_is_the_preservation_of_every_axis():
    W, C, Cs = matrices(3)
    lamb = 0.1
    axes = lamb**0.5 * np.eye(WIDTH)
    uce = (W @ Cs @ C.T + W @ axes @ axes.T) @ np.linalg.inv(C @ C.T + axes @ axes.T)
    np.testing.assert_allclose(new_weight(W, C, Cs, lamb), uce, rtol=1e-9, atol=1e-10)


def test_t_ti_2_a_large_lambda_leaves_the_old_matrix():
    W, C, Cs = matrices(3)
    np.testing.assert_allclose(new_weight(W, C, Cs, 1e12), W, rtol=0, atol=1e-8)
    assert np.abs(new_weight(W, C, Cs, 1e-3) - W).max() > 0.1


def test_a_small_lambda_gives_independent_columns_their_destinations():
    W, C, Cs = matrices(3)
    np.testing.assert_allclose(new_weight(W, C, Cs, 1e-10) @ C, W @ Cs, rtol=1e-7)


def test_a_destination_that_is_the_source_changes_nothing():
    W, C, _ = matrices(30)
    np.testing.assert_array_equal(new_weight(W, C, C), W)


def test_order_does_not_matter_and_contradicting_pairs_meet_at_their_mean():
    W, C, Cs = matrices(5)
    order = [3, 0, 4, 1, 2]
    plain = new_weight(W, C, Cs)
    np.testing.assert_allclose(new_weight(W, C[:, order], Cs[:, order]), plain, rtol=1e-9, atol=1e-10)
    c, a, b = C[:, :1], Cs[:, :1], Cs[:, 1:2]
    both = new_weight(W, np.hstack([c, c]), np.hstack([a, b]), 1e-9)
    np.testing.assert_allclose(both @ c, W @ (a + b) / 2, rtol=0, atol=1e-5)


@pytest.mark.parametrize("columns", [2, 20])
def test_half_precision_weights_are_changed_in_single_precision(columns):
    W, C, Cs = matrices(columns)
    weight = torch.tensor(W, dtype=torch.bfloat16)
    oracle = new_weight(weight.double().numpy(), C, Cs)
    C32, Cs32 = (torch.tensor(x, dtype=torch.float32) for x in (C, Cs))
    apply([weight], Cs32 - C32, solve(C32, 0.1))
    assert weight.dtype == torch.bfloat16
    torch.testing.assert_close(weight.double(), torch.tensor(oracle), rtol=2**-8, atol=1e-4)


def test_shares_are_those_of_the_matrix_with_the_largest():
    W, C, Cs = matrices(4)
    other = np.random.default_rng(9).normal(size=(3, WIDTH))
    expected = max(np.linalg.norm(M @ C) / np.linalg.norm(M @ Cs) for M in (W, other))
    found = largest_share([torch.tensor(W), torch.tensor(other)], torch.tensor(C), torch.tensor(Cs))
    assert found == pytest.approx(expected)
    assert largest_share([torch.tensor(W)], torch.zeros(WIDTH, 1), torch.zeros(WIDTH, 1)) == 0.0


@pytest.mark.parametrize("pairs", [1, 12])
def test_the_matrices_of_stable_diffusion_1_4_equal_the_formula(pairs):
    """Twelve prompts have more columns than dimensions; columns as alike as those of padded prompts."""
    g = torch.Generator().manual_seed(pairs)
    common = 2.0 * torch.randn(768, 1, generator=g)
    C, Cs = (common + 0.3 * torch.randn(768, 77 * pairs, generator=g) for _ in range(2))
    W = [torch.randn(o, 768, generator=g) / 768**0.5 for o in (320, 1280)]
    A = 0.1 * torch.eye(768).double() + C.double() @ C.double().T
    M = (Cs - C).double() @ torch.linalg.solve(A, C.double()).T
    oracle = [w.double() + w.double() @ M for w in W]
    apply(W, Cs - C, solve(C, 0.1))
    for new, right in zip(W, oracle, strict=True):
        assert float((new.double() - right).norm() / right.norm()) < 1e-5
