"""A random edit has the other method's norms, tensor by tensor, and nothing else of it."""

import pytest
import torch

from unlearnbench.edits import same_bits
from unlearnbench.errors import UserError
from unlearnbench.testing import try_edit
from unlearnbench_controls.params import LikeParams
from unlearnbench_controls.random_edit import RandomEdit
from unlearnbench_uce.method import UCE
from unlearnbench_uce.params import UCEParams

SETTINGS = {"preset": "uce-2023", "lamb": 0.3}


@pytest.fixture(scope="module")
def base(model):
    return {name: tensor.detach().clone().double() for name, tensor in model.tensors().items()}


def deltas(changed, base):
    return {name: value.double() - base[name] for name, value in changed.items()}


def random_edit(model, request, seed=0, **settings):
    edit = RandomEdit(LikeParams(like="uce", like_params=settings))
    return try_edit(edit, model, request, seed)[0]


def test_the_norm_of_every_tensor_is_the_other_methods(model, request_, base):
    reference = deltas(try_edit(UCE(UCEParams(**SETTINGS)), model, request_)[0], base)
    own = deltas(random_edit(model, request_, **SETTINGS), base)
    assert own.keys() == reference.keys()
    assert len(own) == 2 * len(model.cross_attention())
    for name, delta in own.items():
        size = reference[name].square().sum().sqrt()
        assert size > 0
        # float32 rounds each weight by at most 2**-24 of it.
        rounding = base[name].abs().max() * delta.numel() ** 0.5 * 2.0**-23
        assert abs(delta.square().sum().sqrt() - size) <= rounding


def test_other_parameters_of_the_method_give_other_norms(model, request_, base):
    one, other = (deltas(random_edit(model, request_, lamb=lamb), base) for lamb in (0.1, 1000.0))
    assert all(one[name].norm() > 5.0 * other[name].norm() for name in one)


def test_directions_are_independent_of_the_method_and_of_each_other(model, request_, base):
    reference = deltas(try_edit(UCE(UCEParams()), model, request_)[0], base)
    draws = [deltas(random_edit(model, request_, seed), base) for seed in range(5)]
    name = max(reference, key=lambda n: reference[n].numel())
    found = [reference[name], *(draw[name] for draw in draws)]
    size = found[0].numel()
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            # The cosine of independent Gaussian directions has standard deviation 1/sqrt(n).
            cosine = torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0)
            assert abs(cosine) < 5 / size**0.5


def test_entries_are_gaussian(model, request_, base):
    own = deltas(random_edit(model, request_), base)
    entries = torch.cat([(d / d.square().mean().sqrt()).flatten() for d in own.values()])
    assert abs(entries.mean()) < 5 / len(entries) ** 0.5
    # The kurtosis of n normal entries is 3 with standard deviation sqrt(24/n).
    assert abs(entries.pow(4).mean() - 3.0) < 5 * (24 / len(entries)) ** 0.5


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(model, request_):
    one, again, other = (random_edit(model, request_, seed) for seed in (3, 3, 4))
    assert all(same_bits(one[name], again[name]) for name in one)
    assert not any(same_bits(one[name], other[name]) for name in one)


def test_a_method_without_a_change_of_weights_has_no_norm(model, request_, monkeypatch):
    monkeypatch.setattr(UCE, "edit", lambda self, model, request, ctx: None)
    with pytest.raises(UserError, match="uce changes no weight here"):
        random_edit(model, request_)


def test_what_the_other_method_refuses_is_refused(model, request_):
    bare = request_.model_copy(update={"forget": (request_.forget[0].model_copy(update={"pairs": ()}),)})
    edit = RandomEdit(LikeParams(like_params={"edit_with": "pairs"}))
    assert edit.refusal(model.info, request_) is None
    assert "no edit prompts for cat" in edit.refusal(model.info, bare)
    assert "the task is 'data'" in edit.refusal(model.info, request_.model_copy(update={"task": "data"}))
