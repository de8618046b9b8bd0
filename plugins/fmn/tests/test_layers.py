"""Which parameters each train method trains."""

import pytest

from unlearnbench.testing import sd14_shaped
from unlearnbench_fmn.layers import trained


@pytest.fixture(scope="module")
def shapes():
    return sd14_shaped(device="meta").unet


def test_cross_attention_has_64_layers_in_stable_diffusion_1_4(shapes):
    chosen = trained(shapes, "cross-attn")
    assert len({name.rpartition(".")[0] for name in chosen}) == 64
    assert sum(p.numel() for p in chosen.values()) == 43_962_560
    assert list(chosen) == sorted(chosen)


def test_the_full_unet_is_every_parameter(shapes):
    chosen = trained(shapes, "full")
    assert set(chosen) == {name for name, _ in shapes.named_parameters()}
    assert sum(p.numel() for p in chosen.values()) == 859_520_964
