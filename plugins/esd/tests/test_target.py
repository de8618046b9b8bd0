"""The target of the loss, against the forms in which paper and code write it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnbench_esd.buffer import erased_target


def predictions(seed, n=3):
    return torch.randn(n, 2, 4, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), eta=st.floats(0, 20))
def test_t_esd_1_the_target_is_the_papers_and_the_new_codes(seed, eta):
    concept, empty, _ = predictions(seed)
    ours = erased_target(concept, concept, empty, eta)
    new_code_guidance = eta + 1
    torch.testing.assert_close(ours, empty - eta * (concept - empty), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours, concept - new_code_guidance * (concept - empty), rtol=1e-9, atol=1e-9)


def test_the_default_eta_is_the_new_codes_negative_guidance_of_2_for_any_source():
    concept, empty, source = predictions(0)
    torch.testing.assert_close(erased_target(source, concept, empty, 1.0), source - 2 * (concept - empty))


@pytest.mark.parametrize("eta", [0.5, 1.0, 3.0])
def test_the_target_is_the_score_of_the_density_divided_by_the_likelihood(eta):
    """Two Gaussians in one dimension, p(x) and p(x|c): the score of p(x) (p(x|c) / p(x))^-eta, up to a factor."""
    x = torch.linspace(-3, 3, 50, dtype=torch.float64, requires_grad=True)

    def log_p(value):
        return -0.5 * (value / 2.0) ** 2

    def log_p_c(value):
        return -0.5 * ((value - 1.0) / 0.7) ** 2

    def score(log):
        return torch.autograd.grad(log(x).sum(), x)[0]

    eps_c, eps_0 = -score(log_p_c), -score(log_p)
    erased = -score(lambda v: log_p(v) - eta * (log_p_c(v) - log_p(v)))
    torch.testing.assert_close(erased_target(eps_c, eps_c, eps_0, eta), erased)
