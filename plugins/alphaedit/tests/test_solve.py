"""The closed forms against plain numpy."""

import numpy as np
import pytest
import torch

from unlearnbench_alphaedit.nullspace import null_space
from unlearnbench_alphaedit.solve import collapse, projected, unprojected

OUT, WIDTH = 7, 20


def problem(edits=5, kept=12, seed=0):
    g = np.random.default_rng(seed)
    W, K0, K1, V1 = (g.normal(size=s) for s in ((OUT, WIDTH), (WIDTH, kept), (WIDTH, edits), (OUT, edits)))
    return W, K0, K1, V1, V1 - W @ K1


def smallest(K0, dim):
    """Return an orthonormal basis of the `dim` smallest left singular directions of K0."""
    return np.linalg.svd(K0, full_matrices=True)[0][:, WIDTH - dim :]


def tensors(*arrays):
    return [torch.tensor(a, dtype=torch.float64) for a in arrays]


def update(R, K1, Q, lamb, previous=None):
    R, K1, Q = tensors(R, K1, Q)
    return projected(R, K1, Q, lamb, None if previous is None else torch.tensor(previous)).numpy()


def test_t_ae_3_the_update_lies_in_the_null_space():
    _, K0, K1, _, R = problem()
    Q = smallest(K0, 8)
    delta = update(R, K1, Q, 0.3)
    np.testing.assert_allclose(delta @ Q @ Q.T, delta, rtol=0, atol=1e-12)
    assert np.abs(delta).max() > 1e-3


def test_t_ae_2_retain_outputs_do_not_move_where_the_null_space_is_exact():
    _, K0, K1, _, R = problem()
    space = null_space(torch.tensor(K0 @ K0.T), 12, rule="relative_mean", tol=1e-10, min_dim=1, max_dim=None)
    assert space.dim == WIDTH - 12
    P = (space.basis @ space.basis.T).numpy()
    assert np.linalg.norm(P @ K0) / np.linalg.norm(K0) < 1e-10
    delta = update(R, K1, space.basis.numpy(), 0.3)
    assert np.linalg.norm(delta @ K0) < 1e-10 * np.linalg.norm(delta) * np.linalg.norm(K0)


@pytest.mark.parametrize("edits", [1, 5, 8, 30])
@pytest.mark.parametrize("dim", [3, 8, 20])
@pytest.mark.parametrize("earlier", [False, True])
def test_t_ae_4_all_forms_agree(edits, dim, earlier):
    _, K0, K1, _, R = problem(edits)
    lamb = 0.7
    Q = smallest(K0, dim)
    P, Z = Q @ Q.T, Q.T @ K1
    Kp = np.random.default_rng(1).normal(size=(WIDTH, 6)) * earlier
    C_prev = Kp @ Kp.T
    paper = R @ K1.T @ P @ np.linalg.inv(C_prev @ P + K1 @ K1.T @ P + lamb * np.eye(WIDTH))
    official = np.linalg.solve(P @ (K1 @ K1.T + C_prev) + lamb * np.eye(WIDTH), P @ K1 @ R.T).T
    ours = update(R, K1, Q, lamb, C_prev if earlier else None)
    np.testing.assert_allclose(ours, paper, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours, official, rtol=1e-9, atol=1e-9)
    if not earlier:
        by_columns = R @ np.linalg.inv(Z.T @ Z + lamb * np.eye(edits)) @ Z.T @ Q.T
        by_directions = R @ Z.T @ np.linalg.inv(Z @ Z.T + lamb * np.eye(dim)) @ Q.T
        np.testing.assert_allclose(ours, by_columns, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(ours, by_directions, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("edits", [3, 30])
def test_t_ae_5_it_is_ridge_regression_in_the_coordinates_of_the_null_space(edits):
    _, K0, K1, _, R = problem(edits)
    lamb, dim = 0.7, 8
    Q = smallest(K0, dim)
    inputs = np.hstack([Q.T @ K1, lamb**0.5 * np.eye(dim)])
    targets = np.hstack([R, np.zeros((OUT, dim))])
    X = np.linalg.lstsq(inputs.T, targets.T, rcond=None)[0].T
    np.testing.assert_allclose(update(R, K1, Q, lamb), X @ Q.T, rtol=1e-9, atol=1e-10)


def test_t_ae_6_copies_of_a_key_are_one_key_with_their_mean_and_a_smaller_lambda():
    _, K0, K1, _, _ = problem(1)
    Q, copies, lamb = smallest(K0, 8), 6, 3.0
    R = np.random.default_rng(3).normal(size=(OUT, copies))
    whole = update(R, np.repeat(K1, copies, axis=1), Q, lamb)
    one = update(R.mean(axis=1, keepdims=True), K1, Q, lamb / copies)
    np.testing.assert_allclose(whole, one, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("projection", [True, False])
def test_t_ae_6_collapsing_changes_nothing(projection):
    _, K0, K1, _, _ = problem(4)
    groups = np.array([7, 2, 2, 9, 7, 2, 4])
    column = {7: 0, 2: 1, 9: 2, 4: 3}
    keys = np.stack([K1[:, column[g]] for g in groups], axis=1)
    R = np.random.default_rng(4).normal(size=(OUT, len(groups)))
    few, residual = (x.numpy() for x in collapse(*tensors(keys, R), torch.tensor(groups)))
    assert few.shape == (WIDTH, 4)
    assert residual.shape == (OUT, 4)
    if projection:
        Q = smallest(K0, 8)
        np.testing.assert_allclose(update(residual, few, Q, 0.5), update(R, keys, Q, 0.5), rtol=1e-9, atol=1e-10)
    else:
        moment = K0 @ K0.T + np.eye(WIDTH)
        a, b = (unprojected(*tensors(r, k, moment)).numpy() for r, k in ((residual, few), (R, keys)))
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_t_ae_7_without_projection_the_retain_moment_takes_the_place_of_lambda():
    _, K0, K1, _, R = problem(5, kept=40)
    moment = K0 @ K0.T
    oracle = R @ K1.T @ np.linalg.inv(moment + K1 @ K1.T)
    ours = unprojected(*tensors(R, K1, moment)).numpy()
    np.testing.assert_allclose(ours, oracle, rtol=1e-9, atol=1e-10)
    # P = I and λ I = K0 K0ᵀ make the projected formula this one
    lamb = 2.0
    same = unprojected(*tensors(R, K1, lamb * np.eye(WIDTH))).numpy()
    np.testing.assert_allclose(same, update(R, K1, np.eye(WIDTH), lamb), rtol=1e-9, atol=1e-10)


def test_without_projection_it_is_least_squares_on_edit_and_retain_inputs():
    W, K0, K1, V1, R = problem(5, kept=8)  # fewer columns than dimensions: the smallest solution is meant
    oracle = np.linalg.lstsq(np.hstack([K1, K0]).T, np.hstack([V1, W @ K0]).T - (W @ np.hstack([K1, K0])).T)[0].T
    np.testing.assert_allclose(unprojected(*tensors(R, K1, K0 @ K0.T)).numpy(), oracle, rtol=0, atol=1e-8)


def test_t_ae_8_without_lambda_independent_keys_get_their_values():
    W, K0, K1, V1, R = problem(5)
    delta = update(R, K1, smallest(K0, 8), 1e-11)
    np.testing.assert_allclose((W + delta) @ K1, V1, rtol=0, atol=1e-7)
    np.testing.assert_allclose((W + delta) @ K0, W @ K0, rtol=0, atol=1e-8)


def test_t_ae_9_values_that_are_there_already_change_nothing():
    _, K0, K1, _, R = problem()
    assert not update(np.zeros_like(R), K1, smallest(K0, 8), 0.5).any()
    assert not unprojected(*tensors(np.zeros_like(R), K1, K0 @ K0.T)).numpy().any()
