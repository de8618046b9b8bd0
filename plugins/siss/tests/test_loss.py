"""The mathematics of SISS against small oracles."""

import math
import sys

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from unlearnbench_siss.gradients import add_scaled, dot, erasing_factor, forget_factor, norm
from unlearnbench_siss.loss import Batch, Images, errors, importance_weights, log_ratio, mixture_terms, plain_term

LAMBDAS = [0.0, 0.25, 0.5, 1.0]


def batch(x, a, alpha, *, generator):
    """Make a batch of one-dimensional images: x and a are [n] tensors, alpha is ᾱ."""
    n = len(x)
    x, a = (Images(v.reshape(n, 1, 1, 1), torch.zeros(n, 1, 1)) for v in (x, a))
    gamma = torch.full((n, 1, 1, 1), alpha, dtype=x.latents.dtype).sqrt()
    sigma = torch.full((n, 1, 1, 1), 1.0 - alpha, dtype=x.latents.dtype).sqrt()
    noise = torch.randn(x.latents.shape, generator=generator, dtype=x.latents.dtype)
    return Batch(x, a, torch.zeros(n, dtype=torch.int64), gamma, sigma, noise)


# ---------------------------------------------------------------- importance weights
# 1/λ, the largest weight, is no float64 for a subnormal λ.
@given(st.floats(-1e5, 1e5), st.floats(0.0, 1.0, allow_subnormal=False))
@example(1e5, sys.float_info.min)
def test_t_si_1_the_weights_of_the_mixture_sum_to_one(d, lamb):
    w_x, w_a = importance_weights(torch.tensor([d], dtype=torch.float64), lamb)
    if lamb < 1.0:
        assert float(w_x) <= 1.0 / (1.0 - lamb) + 1e-9
    if lamb > 0.0:
        assert float(w_a) <= 1.0 / lamb * (1 + 1e-9)
    parts = [share * float(w) for share, w in ((1.0 - lamb, w_x), (lamb, w_a)) if share > 0.0]
    assert sum(parts) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("d", [-700.0, -3.0, 0.0, 2.5, 700.0])
@pytest.mark.parametrize("lamb", LAMBDAS)
def test_the_weights_are_the_ratios_of_densities(d, lamb):
    w_x, w_a = importance_weights(torch.tensor([d], dtype=torch.float64), lamb)
    assert float(w_x) == pytest.approx(1.0 / ((1.0 - lamb) + lamb * math.exp(d)), rel=1e-9)
    assert float(w_a) == pytest.approx(1.0 / ((1.0 - lamb) * math.exp(-d) + lamb), rel=1e-9)


@given(st.sampled_from([-1e5, 1e5, -1e3, 0.0, 1e3]), st.sampled_from(LAMBDAS))
def test_t_si_7_no_weight_is_nan_however_far_the_images_are_apart(d, lamb):
    for weight in importance_weights(torch.tensor([d], dtype=torch.float64), lamb):
        assert not weight.isnan()
        assert weight.isfinite() or lamb in (0.0, 1.0)


@pytest.mark.parametrize("lamb", LAMBDAS)
def test_t_si_4_equal_images_have_weights_one(lamb):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(50, generator=g)
    for term in mixture_terms(batch(x, x.clone(), 0.3, generator=g), lamb, g):
        torch.testing.assert_close(term.weights, torch.ones(50, dtype=torch.float64), rtol=0, atol=1e-6)


def test_the_log_ratio_is_that_of_normal_densities():
    g = torch.Generator().manual_seed(1)
    x, a, m = (torch.randn(6, 2, 3, 3, generator=g, dtype=torch.float64) for _ in range(3))
    alpha = torch.rand(6, 1, 1, 1, generator=g, dtype=torch.float64)
    text = torch.zeros(6, 1, 1)
    pairs = Batch(Images(x, text), Images(a, text), torch.zeros(6), alpha.sqrt(), (1 - alpha).sqrt(), m)
    density = [
        torch.distributions.Normal(alpha.sqrt() * image, (1 - alpha).sqrt()).log_prob(m).sum((1, 2, 3))
        for image in (a, x)
    ]
    torch.testing.assert_close(log_ratio(m, pairs), density[0] - density[1])


# ---------------------------------------------------------------- expectations
def model(m, timesteps, text):
    return 0.7 * torch.tanh(2.0 * m) - 0.2


@pytest.mark.parametrize("lamb", LAMBDAS)
def test_t_si_2_both_weighted_terms_equal_their_direct_estimates(lamb):
    """In one dimension: sampled from the mixture and weighed, each term is the plain loss of its own image."""
    g = torch.Generator().manual_seed(2)
    n, alpha, x0, a0 = 4_000_000, 0.2, 0.4, -0.3
    x, a = torch.full((n,), x0), torch.full((n,), a0)
    pairs = batch(x, a, alpha, generator=g)
    retain, forget = errors(model, list(mixture_terms(pairs, lamb, g)), velocity=False)
    nodes, weights = (torch.tensor(v, dtype=torch.float64) for v in gauss_hermite(80))
    for found, image in ((retain, x0), (forget, a0)):
        m = math.sqrt(alpha) * image + math.sqrt(1 - alpha) * nodes
        direct = float((weights * (model(m, None, None) - nodes) ** 2).sum())
        assert float(found) == pytest.approx(direct, abs=4e-3 if lamb in (0.0, 1.0) else 2e-3)


def gauss_hermite(n):
    """Return nodes and weights for the standard normal distribution."""
    import numpy as np

    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, weights / weights.sum()


@pytest.mark.parametrize("lamb", [0.25, 0.5, 0.75])
def test_t_si_3_the_expected_gradient_is_that_of_naive_deletion(lamb):
    """X in one dimension, x from all of X, factors n/(n - k) and k/(n - k): the gradient on X without A."""
    g = torch.Generator().manual_seed(3)
    X = torch.tensor([-0.9, 0.1, 0.5, 1.2, 0.8])
    forget = torch.tensor([3, 4])
    n, k, draws = len(X), len(forget), 2_000_000
    theta = torch.tensor([0.3, -0.4, 0.2], requires_grad=True)

    def toy(m, timesteps, text):
        return theta[0] + theta[1] * m + theta[2] * m**2

    x, a = X[torch.randint(n, (draws,), generator=g)], X[forget[torch.randint(k, (draws,), generator=g)]]
    retain, away = mixture_terms(batch(x, a, 0.35, generator=g), lamb, g)
    losses = errors(toy, [retain.times(n / (n - k)), away.times(k / (n - k))], velocity=False)
    (siss,) = torch.autograd.grad(losses[0] - losses[1], theta)

    kept = X[[0, 1, 2]][torch.randint(n - k, (draws,), generator=g)]
    pairs = batch(kept, kept, 0.35, generator=g)
    (naive,) = torch.autograd.grad(errors(toy, [plain_term(pairs, pairs.x)], velocity=False)[0], theta)
    torch.testing.assert_close(siss, naive, rtol=2e-2, atol=2e-2)
    (everything,) = torch.autograd.grad(
        errors(toy, [plain_term(batch(x, x, 0.35, generator=g), Images(x[:, None, None, None], x[:, None, None]))],
               velocity=False)[0], theta
    )  # fmt: skip
    assert (everything - naive).abs().max() > 0.1  # there was something to forget


def test_squares_are_summed_over_pixels_and_averaged_over_images():
    g = torch.Generator().manual_seed(4)
    images = Images(torch.randn(2, 4, 3, 3, generator=g), torch.zeros(2, 5, 6))
    ones = torch.full((2, 1, 1, 1), 0.5).sqrt()
    pairs = Batch(images, images, torch.tensor([1, 2]), ones, ones, torch.randn(2, 4, 3, 3, generator=g))
    (found,) = errors(lambda m, t, c: torch.zeros_like(m), [plain_term(pairs, images)], velocity=False)
    assert float(found) == pytest.approx(float(pairs.noise.square().sum()) / 2, rel=1e-6)


def test_a_velocity_is_turned_into_noise():
    g = torch.Generator().manual_seed(5)
    images = Images(torch.randn(3, 4, 2, 2, generator=g), torch.zeros(3, 1, 1))
    alpha = torch.rand(3, 1, 1, 1, generator=g)
    pairs = Batch(
        images, images, torch.zeros(3), alpha.sqrt(), (1 - alpha).sqrt(), torch.randn(3, 4, 2, 2, generator=g)
    )
    exact = pairs.gamma * pairs.noise - pairs.sigma * images.latents
    (found,) = errors(lambda m, t, c: exact, [plain_term(pairs, images)], velocity=True)
    assert float(found) < 1e-9


def test_terms_of_one_text_share_a_forward_pass():
    g = torch.Generator().manual_seed(6)
    x, a = torch.randn(3, generator=g), torch.randn(3, generator=g)
    pairs = batch(x, a, 0.5, generator=g)
    rows = []

    def watched(m, timesteps, text):
        rows.append(len(m))
        return model(m, timesteps, text)

    shared = errors(watched, list(mixture_terms(pairs, 0.5, torch.Generator().manual_seed(1))), velocity=False)
    other = Batch(pairs.x, Images(pairs.a.latents, torch.ones(3, 1, 1)), *list(vars(pairs).values())[2:])
    apart = errors(watched, list(mixture_terms(other, 0.5, torch.Generator().manual_seed(1))), velocity=False)
    assert rows == [3, 6]
    torch.testing.assert_close(torch.stack(shared), torch.stack(apart))


# ---------------------------------------------------------------- directions
def gradients(seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 4, generator=g), torch.randn(7, generator=g)]


@pytest.mark.parametrize("size", [0.5, 750.0])
def test_t_si_5_the_forget_gradient_gets_the_length_it_shall_have(size):
    g_x, g_a = gradients(0), gradients(1)
    factor = forget_factor(g_x, g_a, "norm", size)
    assert factor * norm(g_a) == pytest.approx(size, rel=1e-6)
    share = forget_factor(g_x, g_a, "share", 0.1)
    assert share * norm(g_a) == pytest.approx(0.1 * norm(g_x), rel=1e-6)
    assert forget_factor(g_x, g_a, "none", 1.5) == 1.5


def test_a_forget_gradient_of_no_length_has_no_factor():
    nothing = [torch.zeros(3), torch.zeros(2, 2)]
    assert forget_factor(nothing, nothing, "norm", 1.0) is None
    assert forget_factor(gradients(), [torch.zeros(3, 4), torch.zeros(7)], "share", 0.1) is None


@given(st.integers(0, 1000), st.floats(0.0, 3.0))
def test_t_si_6_erasediff_keeps_descending_the_forget_loss(seed, eta):
    g_x, g_f = gradients(seed), gradients(seed + 1)
    before = dot(g_x, g_f)
    factor = erasing_factor(g_x, g_f, eta)
    g = add_scaled([part.clone() for part in g_x], factor, g_f)
    least = eta * dot(g_f, g_f)
    assert dot(g, g_f) >= least - 1e-4
    if factor > 0.0:
        assert dot(g, g_f) == pytest.approx(least, abs=1e-4)
    else:
        assert before >= least - 1e-4


def test_erasediff_does_nothing_for_a_forget_loss_without_slope():
    assert erasing_factor(gradients(), [torch.zeros(3, 4), torch.zeros(7)], 1.0) == 0.0
