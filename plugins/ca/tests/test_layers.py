"""Which parameters each train method trains."""

import pytest

from unlearnbench.testing import sd14_shaped
from unlearnbench_ca.layers import trained


@pytest.fixture(scope="module")
def shapes():
    return sd14_shaped(device="meta").unet


@pytest.mark.parametrize(
    ("method", "modules", "parameters"),
    [("cross-attn", 32, 19_169_280), ("attn", 128, 93_536_640), ("embedding", 0, 0)],
)
def test_t_ca_4_parameter_counts_on_the_shapes_of_stable_diffusion_1_4(shapes, method, modules, parameters):
    chosen = trained(shapes, method)
    assert len({name.rpartition(".")[0] for name in chosen}) == modules
    assert sum(p.numel() for p in chosen.values()) == parameters
    assert list(chosen) == sorted(chosen)


def test_t_ca_4_the_full_unet_is_every_parameter(shapes):
    chosen = trained(shapes, "full")
    assert set(chosen) == {name for name, _ in shapes.named_parameters()}
    assert sum(p.numel() for p in chosen.values()) == 859_520_964
