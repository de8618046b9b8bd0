"""Which layers each train method trains."""

import pytest
import torch

from unlearnbench.testing import sd14_shaped, tiny_model
from unlearnbench_esd.layers import trained


@pytest.fixture(scope="module")
def shapes():
    return sd14_shaped(device="meta").unet


@pytest.mark.parametrize(
    ("method", "modules", "parameters"),
    [
        ("esd-x", 64, 43_962_560),
        ("esd-x-strict", 32, 19_169_280),
        ("esd-u", 218, 815_358_084),
        ("esd-all", 282, 859_320_644),
        ("selfattn", 64, 49_574_080),
    ],
)
def test_t_esd_3_parameter_counts_on_the_shapes_of_stable_diffusion_1_4(shapes, method, modules, parameters):
    chosen = trained(shapes, method)
    assert len({name.rpartition(".")[0] for name in chosen}) == modules
    assert sum(p.numel() for p in chosen.values()) == parameters
    assert list(chosen) == sorted(chosen)


def test_esd_x_and_esd_u_share_nothing_and_make_up_esd_all(shapes):
    x, u = trained(shapes, "esd-x"), trained(shapes, "esd-u")
    assert not set(x) & set(u)
    assert set(x) | set(u) == set(trained(shapes, "esd-all"))
    assert {"conv_in.weight", "conv_out.weight", "time_embedding.linear_1.weight"} <= set(u)


def test_norms_are_never_trained_and_parameters_are_the_models_own():
    unet = tiny_model().unet
    chosen = trained(unet, "esd-all")
    own = dict(unet.named_parameters())
    assert all(p is own[name] for name, p in chosen.items())
    rest = {name.rpartition(".")[0] for name in set(own) - set(chosen)}
    norms = torch.nn.GroupNorm | torch.nn.LayerNorm
    assert rest
    assert all(isinstance(unet.get_submodule(name), norms) for name in rest)
