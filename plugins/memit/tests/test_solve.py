"""The closed forms against plain numpy."""

import numpy as np
import pytest
import torch

from unlearnbench_memit.solve import collapse, hold, regular, right_factor

OUT, WIDTH = 7, 20


def problem(edits, kept, seed=0):
    g = np.random.default_rng(seed)
    W, K0, K1, V1 = (g.normal(size=s) for s in ((OUT, WIDTH), (WIDTH, kept), (WIDTH, edits), (OUT, edits)))
    return W, K0, K1, V1


def update(R, K1, C0):
    R, K1, C0 = (torch.tensor(x, dtype=torch.float64) for x in (R, K1, C0))
    return (R @ right_factor(K1, hold(C0))).numpy()


SIZES = [(edits, kept) for edits in (1, 5, 19, 20, 45) for kept in (0, 3, 12, 20, 60)]


@pytest.mark.parametrize(("edits", "kept"), SIZES)
def test_t_me_2_the_update_is_least_squares_on_edit_and_retain_inputs(edits, kept):
    """The smallest of all solutions where edit and retain inputs leave directions unused."""
    W, K0, K1, V1 = problem(edits, kept)
    inputs, targets = np.hstack([K1, K0]), np.hstack([V1, W @ K0])
    oracle = np.linalg.lstsq(inputs.T, (targets - W @ inputs).T, rcond=None)[0].T
    np.testing.assert_allclose(update(V1 - W @ K1, K1, K0 @ K0.T), oracle, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("edits", [1, 5, 19, 30])
def test_the_formula_of_the_report(edits):
    W, K0, K1, V1 = problem(edits, 40)
    R = V1 - W @ K1
    oracle = R @ K1.T @ np.linalg.inv(K0 @ K0.T + K1 @ K1.T)
    np.testing.assert_allclose(update(R, K1, K0 @ K0.T), oracle, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("edits", [1, 5, 19])
def test_the_factored_form_of_a_regular_moment(edits):
    """Δ = R (I + YᵀY)⁻¹ Yᵀ L⁻¹ with C0 = L Lᵀ and Y = L⁻¹ K1."""
    W, K0, K1, V1 = problem(edits, 40)
    R, L = V1 - W @ K1, np.linalg.cholesky(K0 @ K0.T)
    Y = np.linalg.solve(L, K1)
    oracle = R @ np.linalg.inv(np.eye(edits) + Y.T @ Y) @ Y.T @ np.linalg.inv(L)
    np.testing.assert_allclose(update(R, K1, K0 @ K0.T), oracle, rtol=1e-9, atol=1e-10)


def test_t_me_1_it_is_the_uce_update_without_lambda():
    """E -> K1, v* -> V1, P -> K0 in equation 7 of the UCE paper."""
    W, K0, K1, V1 = problem(4, 40)
    uce = (V1 @ K1.T + W @ K0 @ K0.T) @ np.linalg.inv(K1 @ K1.T + K0 @ K0.T)
    np.testing.assert_allclose(update(V1 - W @ K1, K1, K0 @ K0.T), uce - W, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("edits", [3, 30])
def test_t_me_3_retain_inputs_without_preferred_direction_make_it_time(edits):
    W, _, K1, V1 = problem(edits, 0)
    lamb = 0.1
    time = (lamb * W + V1 @ K1.T) @ np.linalg.inv(lamb * np.eye(WIDTH) + K1 @ K1.T)
    np.testing.assert_allclose(update(V1 - W @ K1, K1, lamb * np.eye(WIDTH)), time - W, rtol=1e-8, atol=1e-9)


def test_values_that_are_there_already_change_nothing():
    _, K0, K1, _ = problem(4, 12)
    assert not update(np.zeros((OUT, 4)), K1, K0 @ K0.T).any()


def test_free_directions_take_the_edit_and_leave_retain_outputs_alone():
    W, K0, K1, V1 = problem(5, 12)
    delta = update(V1 - W @ K1, K1, K0 @ K0.T)
    np.testing.assert_allclose((W + delta) @ K1, V1, rtol=0, atol=1e-9)
    np.testing.assert_allclose(delta @ K0, 0, rtol=0, atol=1e-9)


def test_keys_that_are_retained_up_to_rounding_do_not_blow_up():
    """A key that single precision cannot tell from a retain input must not be fitted along the difference."""
    _, K0, _, _ = problem(1, 12)
    noise = 1e-7 * np.random.default_rng(1).normal(size=(WIDTH, 1))
    K1, R = K0[:, :1] + noise, np.random.default_rng(2).normal(size=(OUT, 1))
    exact = update(R, K0[:, :1], K0 @ K0.T)
    np.testing.assert_allclose(update(R, K1, K0 @ K0.T), exact, rtol=0, atol=1e-5)
    assert np.abs(exact).max() < 10


@pytest.mark.parametrize("kept", [0, 3, 19])
def test_a_singular_moment_is_split_by_its_eigenvectors(kept):
    _, K0, _, _ = problem(1, kept)
    held = hold(torch.tensor(K0 @ K0.T))
    assert held.factor is None
    assert held.used.shape == (WIDTH, kept)
    assert held.unused.shape == (WIDTH, WIDTH - kept)
    again = held.used * held.sizes.square() @ held.used.T
    torch.testing.assert_close(again, torch.tensor(K0 @ K0.T), rtol=1e-9, atol=1e-9)


def test_a_regular_moment_has_its_cholesky_factor():
    _, K0, _, _ = problem(1, 40)
    moment = torch.tensor(K0 @ K0.T)
    held = hold(moment)
    torch.testing.assert_close(held.factor @ held.factor.T, moment)
    assert held.unused.shape[1] == 0
    assert regular(torch.zeros(3, 3, dtype=torch.float64)) is None
    assert regular(torch.diag(torch.tensor([1.0, 1e-13], dtype=torch.float64))) is None


@pytest.mark.parametrize("kept", [8, 40])
def test_collapsing_repeated_keys_changes_nothing(kept):
    _, K0, K1, _ = problem(4, kept)
    groups = np.array([7, 2, 2, 9, 7, 2, 4])
    place = {7: 0, 2: 1, 9: 2, 4: 3}
    keys = np.stack([K1[:, place[g]] for g in groups], axis=1)
    R = np.random.default_rng(4).normal(size=(OUT, len(groups)))
    few, residual = (x.numpy() for x in collapse(torch.tensor(keys), torch.tensor(R), torch.tensor(groups)))
    assert few.shape == (WIDTH, 4)
    assert residual.shape == (OUT, 4)
    moment = K0 @ K0.T
    np.testing.assert_allclose(update(residual, few, moment), update(R, keys, moment), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("out", "width", "columns"), [(768, 3072, 300), (1280, 768, 900)])
def test_the_matrices_of_stable_diffusion_1_4(out, width, columns):
    g = torch.Generator().manual_seed(0)
    C0 = torch.diag(torch.logspace(3, -1, width, dtype=torch.float64))
    K1 = torch.randn(width, columns, generator=g, dtype=torch.float64)
    R = torch.randn(out, columns, generator=g, dtype=torch.float64)
    delta = R @ right_factor(K1, hold(C0))
    # the normal equations, without an inverse
    torch.testing.assert_close(delta @ C0 + (delta @ K1) @ K1.T, R @ K1.T, rtol=1e-7, atol=1e-6)
