"""The closed form against plain numpy."""

import numpy as np
import pytest
import torch

from unlearnbench_uce.solve import apply, change, solve

WIDTH, OUT = 24, 10


def matrices(edits, kept, seed=0):
    g = np.random.default_rng(seed)
    W, C, Cs, P = (g.normal(size=s) for s in ((OUT, WIDTH), (WIDTH, edits), (WIDTH, edits), (WIDTH, kept)))
    return W, C, Cs, P


def new_weight(W, C, Cs, P, w_e=1.0, w_p=1.0, lamb=0.5, **kwargs):
    C, Cs, P, weight = (torch.tensor(x, dtype=torch.float64) for x in (C, Cs, P, W))
    S = solve(C, P.split(3, dim=1), P.shape[1], erase_scale=w_e, preserve_scale=w_p, lamb=lamb)
    apply([weight], C, Cs, S, **kwargs)
    return weight.numpy()


def formula(W, C, Cs, P, w_e=1.0, w_p=1.0, lamb=0.5):
    """Write eq. 7 of the paper down, d x d."""
    left = lamb * W + w_e * W @ Cs @ C.T + w_p * W @ P @ P.T
    return left @ np.linalg.inv(lamb * np.eye(WIDTH) + w_e * C @ C.T + w_p * P @ P.T)


@pytest.mark.parametrize(("edits", "kept"), [(1, 0), (3, 7), (4, 60), (40, 5)])
def test_t_uce_1_closed_form_equals_least_squares(edits, kept):
    W, C, Cs, P = matrices(edits, kept)
    w_e, w_p, lamb = 2.0, 0.3, 0.5
    inputs = np.hstack([w_e**0.5 * C, w_p**0.5 * P, lamb**0.5 * np.eye(WIDTH)])
    targets = np.hstack([w_e**0.5 * W @ Cs, w_p**0.5 * W @ P, lamb**0.5 * W])
    oracle = np.linalg.lstsq(inputs.T, targets.T, rcond=None)[0].T
    np.testing.assert_allclose(new_weight(W, C, Cs, P, w_e, w_p, lamb), oracle, rtol=1e-9, atol=1e-10)


def test_t_uce_2_without_preserved_columns_it_is_time():
    W, C, Cs, _ = matrices(3, 0)
    lamb = 0.1
    none = np.zeros((WIDTH, 0))
    time = (lamb * W + W @ Cs @ C.T) @ np.linalg.inv(lamb * np.eye(WIDTH) + C @ C.T)
    np.testing.assert_allclose(new_weight(W, C, Cs, none, lamb=lamb), time, rtol=1e-9, atol=1e-10)
    axes = lamb**0.5 * np.eye(WIDTH)
    np.testing.assert_allclose(new_weight(W, C, Cs, axes, lamb=1e-12), time, rtol=1e-8, atol=1e-9)


def test_t_uce_3_the_change_has_the_residual_form():
    W, C, Cs, P = matrices(3, 5)
    w_e, w_p, lamb = 1.5, 0.7, 0.5
    A = lamb * np.eye(WIDTH) + w_e * C @ C.T + w_p * P @ P.T
    residual = w_e * W @ (Cs - C) @ C.T @ np.linalg.inv(A)
    np.testing.assert_allclose(new_weight(W, C, Cs, P, w_e, w_p, lamb) - W, residual, rtol=1e-8, atol=1e-10)


def test_t_uce_4_a_target_that_is_the_concept_changes_nothing():
    W, C, _, P = matrices(3, 5)
    np.testing.assert_array_equal(new_weight(W, C, C, P), W)


def test_t_uce_5_limits_of_lambda():
    W, C, Cs, _ = matrices(1, 0)
    none = np.zeros((WIDTH, 0))
    np.testing.assert_allclose(new_weight(W, C, Cs, none, lamb=1e12), W, rtol=0, atol=1e-8)
    np.testing.assert_allclose(new_weight(W, C, Cs, none, lamb=1e-10) @ C, W @ Cs, rtol=1e-8)
    assert np.abs(W @ C - W @ Cs).max() > 0.1


@pytest.mark.parametrize(("edits", "kept"), [(1, 0), (5, 10), (3, 20), (2, 40), (30, 0)])
def test_t_uce_6_low_rank_form_equals_d_by_d_form(edits, kept):
    W, C, Cs, P = matrices(edits, kept)
    np.testing.assert_allclose(new_weight(W, C, Cs, P), formula(W, C, Cs, P), rtol=1e-8, atol=1e-9)


def test_t_uce_7_order_does_not_matter_and_a_duplicate_is_a_doubled_weight():
    W, C, Cs, P = matrices(3, 5)
    order, kept = [2, 0, 1], [4, 1, 0, 3, 2]
    plain = new_weight(W, C, Cs, P)
    np.testing.assert_allclose(new_weight(W, C[:, order], Cs[:, order], P[:, kept]), plain, rtol=1e-9, atol=1e-10)
    twice = new_weight(W, np.hstack([C, C]), np.hstack([Cs, Cs]), P)
    np.testing.assert_allclose(twice, new_weight(W, C, Cs, P, w_e=2.0), rtol=1e-8, atol=1e-9)
    assert np.abs(twice - plain).max() > 1e-3


def test_tensor_technique_removes_the_component_along_the_old_block():
    W, C, Cs, P = matrices(5, 6)
    block = torch.tensor([0, 0, 0, 1, 1])
    targets = np.empty((OUT, 5))
    for part in ([0, 1, 2], [3, 4]):
        old, new = W @ C[:, part], W @ Cs[:, part]
        unit = old / np.linalg.norm(old)
        targets[:, part] = new - (unit * new).sum() * unit
        assert abs((targets[:, part] * old).sum()) < 1e-12
    A = 0.5 * np.eye(WIDTH) + C @ C.T + P @ P.T
    oracle = W + (targets - W @ C) @ C.T @ np.linalg.inv(A)
    np.testing.assert_allclose(new_weight(W, C, Cs, P, technique="tensor", block=block), oracle, rtol=1e-8, atol=1e-9)


def test_tensor_technique_refuses_columns_without_blocks():
    W, C, Cs, _ = (torch.tensor(x) for x in matrices(2, 1))
    with pytest.raises(ValueError, match="block"):
        change(W, C, Cs, torch.zeros(WIDTH, 2), technique="tensor")


@pytest.mark.parametrize("columns", [2, 20])
def test_half_precision_weights_are_changed_in_single_precision(columns):
    W, C, Cs, P = matrices(columns, 5)
    weight = torch.tensor(W, dtype=torch.bfloat16)
    oracle = formula(weight.double().numpy(), C, Cs, P)
    C32, Cs32, P32 = (torch.tensor(x, dtype=torch.float32) for x in (C, Cs, P))
    apply([weight], C32, Cs32, solve(C32, [P32], 5, erase_scale=1, preserve_scale=1, lamb=0.5))
    assert weight.dtype == torch.bfloat16
    torch.testing.assert_close(weight.double(), torch.tensor(oracle), rtol=2**-8, atol=1e-4)
