"""The null space of the retain inputs."""

import numpy as np
import pytest
import torch

from unlearnbench_alphaedit.nullspace import Moment, null_space

WIDTH = 30


def keys(columns, seed=0):
    """Make columns whose directions have very different sizes, as those of a text encoder."""
    g = np.random.default_rng(seed)
    basis = np.linalg.qr(g.normal(size=(WIDTH, WIDTH)))[0]
    return basis @ (np.logspace(1, -5, WIDTH)[:, None] * g.normal(size=(WIDTH, columns)))


def space(K0, **kwargs):
    settings = {"rule": "relative_mean", "tol": 1e-3, "min_dim": 1, "max_dim": None}
    return null_space(torch.tensor(K0 @ K0.T), K0.shape[1], **(settings | kwargs))


@pytest.mark.parametrize("dim", [1, 10, 30])
def test_t_ae_1_the_projector_is_one(dim):
    Q = space(keys(200), rule="rank", min_dim=dim).basis
    P = Q @ Q.T
    torch.testing.assert_close(P @ P, P, rtol=0, atol=1e-10)
    torch.testing.assert_close(P.T, P, rtol=0, atol=1e-10)
    assert float(P.trace()) == pytest.approx(dim, abs=1e-10)


@pytest.mark.parametrize("tol", [1e-6, 1e-3, 0.3])
def test_relative_mean_takes_eigenvalues_under_a_share_of_their_mean(tol):
    K0 = keys(200)
    values = np.linalg.svd(K0)[1] ** 2
    found = space(K0, tol=tol)
    assert found.dim == (values < tol * values.sum() / WIDTH).sum() > 1
    np.testing.assert_allclose(np.sort(values), found.eigenvalues.numpy(), rtol=1e-6, atol=1e-9 * values.max())


def test_absolute_moment_looks_at_the_mean_second_moment():
    K0 = keys(200)
    values = np.linalg.svd(K0)[1] ** 2 / 200
    for tol in (1e-6, 2e-2):
        assert space(K0, rule="absolute_moment", tol=tol).dim == (values < tol).sum() > 1
    doubled = np.hstack([K0, K0])
    assert space(doubled, rule="absolute_moment", tol=2e-2).dim == space(K0, rule="absolute_moment", tol=2e-2).dim


def test_bounds_on_the_dimension_hold_for_every_rule():
    K0 = keys(200)
    free = space(K0, tol=1e-3).dim
    assert space(K0, tol=1e-3, min_dim=free + 4).dim == free + 4
    assert space(K0, tol=1e-3, max_dim=free - 4).dim == free - 4
    assert space(K0, rule="rank", min_dim=7).dim == 7
    assert space(K0, rule="rank", min_dim=1000).dim == WIDTH


@pytest.mark.parametrize("dim", [5, 15, 30])
def test_leakage_is_the_share_of_the_retain_inputs_that_is_left(dim):
    K0 = keys(200)
    found = space(K0, rule="rank", min_dim=dim)
    share = np.linalg.norm(found.basis.numpy().T @ K0) / np.linalg.norm(K0)
    assert found.leakage == pytest.approx(share, rel=1e-4)
    if dim == WIDTH:
        assert found.leakage == pytest.approx(1.0)


def test_the_smallest_directions_are_taken():
    K0 = keys(200)
    found = space(K0, rule="rank", min_dim=6)
    U = np.linalg.svd(K0)[0][:, -6:]
    np.testing.assert_allclose(found.basis.numpy() @ found.basis.numpy().T, U @ U.T, rtol=0, atol=1e-5)


def test_without_retain_inputs_every_direction_is_null():
    found = null_space(
        torch.zeros(WIDTH, WIDTH, dtype=torch.float64), 0, rule="relative_mean", tol=1e-5, min_dim=3, max_dim=None
    )
    assert found.dim == WIDTH
    assert found.leakage == 0.0


def test_spectrum_counts_eigenvalues_under_multiples_of_the_mean():
    K0 = keys(200)
    values = np.linalg.svd(K0)[1] ** 2
    counts = space(K0).spectrum()
    assert counts["0.001"] == (values < 1e-3 * values.mean()).sum()
    assert list(counts.values()) == sorted(counts.values())


def test_moments_add_up_in_double_precision_with_counts():
    K0 = keys(12).astype(np.float32)
    counts = np.arange(1, 13)
    moment = Moment(WIDTH)
    for part in (slice(0, 5), slice(5, 12)):
        moment.add(torch.tensor(K0[:, part]), torch.tensor(counts[part]))
    repeated = np.repeat(K0.astype(np.float64), counts, axis=1)
    assert moment.columns == repeated.shape[1]
    np.testing.assert_allclose(moment.gram.numpy(), repeated @ repeated.T, rtol=1e-12, atol=1e-12)


def test_quantiles_are_those_of_the_eigenvalues_in_multiples_of_their_mean():
    K0 = keys(200)
    values = np.linalg.svd(K0)[1] ** 2
    found = space(K0).quantiles()
    for level, value in found.items():
        assert value == pytest.approx(np.quantile(values / values.mean(), float(level)), rel=1e-6, abs=1e-12)
    assert list(found) == ["0", "0.01", "0.1", "0.25", "0.5", "0.75", "0.9", "0.99", "1"]
