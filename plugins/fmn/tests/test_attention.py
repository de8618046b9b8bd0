"""The processor that shows attention, and the loss on what it shows."""

import math

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from hypothesis import given
from hypothesis import strategies as st

from unlearnbench.testing import tiny_model
from unlearnbench_fmn.attention import Recorder, mean_attention, recorded, resteering_loss, steered
from unlearnbench_fmn.layers import trained
from unlearnbench_fmn.student import Student


@pytest.fixture(scope="module", params=[1, 2])
def model(request):
    return tiny_model(version=request.param)


def inputs(model, n=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    x, t = torch.randn(n, 4, 8, 8, generator=g), torch.randint(1000, (n,), generator=g)
    return x, t, model.encode(["a photo of a cat", "a red dog"][:n]).states


# ---------------------------------------------------------------- the tests of the specification
@given(
    st.integers(1, 3).flatmap(
        lambda n: st.tuples(
            st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=4),  # heads and queries
            st.lists(st.sets(st.integers(0, 6), min_size=1), min_size=n, max_size=n),
            st.integers(0, 2**31),
        )
    )
)
def test_t_fmn_2_the_loss_is_the_sum_over_maps_samples_heads_queries_and_positions(case):
    shapes, positions, seed = case
    g = torch.Generator().manual_seed(seed)
    maps = [torch.randn(len(positions), h, q, 7, generator=g).softmax(-1) for h, q in shapes]
    places = torch.tensor([[p in row for p in range(7)] for row in positions])
    total = mass = count = 0.0
    for attention in maps:
        for n, row in enumerate(positions):
            for head in attention[n].tolist():
                for query in head:
                    total += sum(query[p] ** 2 for p in row)
                    mass += sum(query[p] for p in row)
                    count += len(row)
    chosen = steered(maps, places)
    assert float(resteering_loss(chosen, "squared")) == pytest.approx(total, rel=1e-5)
    assert float(resteering_loss(chosen, "norm")) == pytest.approx(math.sqrt(total), rel=1e-5)
    assert mean_attention(chosen) == pytest.approx(mass / count, rel=1e-5)


def test_t_fmn_3_the_last_map_gives_no_gradient_to_the_values_of_its_layer(model):
    modules = model.cross_attention()
    order = []
    handles = [m.register_forward_hook(lambda *_, name=name: order.append(name)) for name, m in modules.items()]
    student = Student(model, trained(model.unet, "cross-attn"))
    places = torch.zeros(2, model.info.text_positions, dtype=torch.bool)
    places[:, 2:4] = True
    with recorded(modules.values()) as maps:
        student.predict(*inputs(model))
        resteering_loss(steered(maps[-1:], places), "squared").backward()
    for handle in handles:
        handle.remove()
    assert len(order) == len(maps) == len(modules)

    def size(layer, part):
        grad = student.masters[f"{layer}.{part}.weight"].grad
        return 0.0 if grad is None else float(grad.abs().max())

    last, first = order[-1], order[0]
    assert size(last, "to_v") == size(last, "to_out.0") == 0.0
    assert size(last, "to_q") > 0
    assert size(last, "to_k") > 0
    assert size(first, "to_v") > 0  # what an earlier layer puts out becomes a query of the last


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_t_fmn_5_the_output_is_that_of_the_processors_of_diffusers(model, masked):
    g = torch.Generator().manual_seed(1)
    for module in model.cross_attention().values():
        width, text = module.to_q.in_features, module.to_k.in_features
        hidden, states = torch.randn(3, 16, width, generator=g), torch.randn(3, 9, text, generator=g)
        # each sample hides other positions, as the masks of different prompts do
        mask = torch.where(torch.rand(3, 1, 9, generator=g) < 0.5, -1e4, 0.0) if masked else None
        recorder = Recorder()
        output = recorder(module, hidden, states, mask)
        for stock in (AttnProcessor(), AttnProcessor2_0()):
            torch.testing.assert_close(output, stock(module, hidden, states, mask), rtol=0, atol=1e-5)
        (kept,) = recorder.maps
        assert kept.shape == (3, module.heads, 16, 9)
        torch.testing.assert_close(kept.sum(-1), torch.ones(3, module.heads, 16))
        if masked:
            hidden_positions = (mask < 0).expand(3, module.heads * 16, 9).reshape(kept.shape)
            assert float(kept[hidden_positions].max()) < 1e-6


def test_t_fmn_5_the_unet_predicts_the_same_and_shows_every_map(model):
    x, t, text = inputs(model)
    with torch.no_grad():
        stock = model.unet(x, t, text).sample
        with recorded(model.cross_attention().values()) as maps:
            same = model.unet(x, t, text).sample
    torch.testing.assert_close(same, stock, rtol=0, atol=1e-5)
    assert [m.shape[0] for m in maps] == [2] * len(model.cross_attention())
    assert all(m.shape[-1] == model.info.text_positions for m in maps)


# ---------------------------------------------------------------- beyond
def test_the_probabilities_are_softmax_of_queries_and_keys(model):
    module = next(iter(model.cross_attention().values()))
    g = torch.Generator().manual_seed(2)
    hidden = torch.randn(2, 5, module.to_q.in_features, generator=g)
    text = torch.randn(2, 6, module.to_k.in_features, generator=g)
    recorder = Recorder()
    recorder(module, hidden, text)
    depth = module.to_q.out_features // module.heads
    for n in range(2):
        for head in range(module.heads):
            part = slice(head * depth, (head + 1) * depth)
            q, k = module.to_q(hidden[n])[:, part], module.to_k(text[n])[:, part]
            torch.testing.assert_close(recorder.maps[0][n, head], (q @ k.T / math.sqrt(depth)).softmax(-1))


def test_the_model_gets_its_processors_back(model):
    modules = list(model.cross_attention().values())
    before = [module.processor for module in modules]
    types = set()

    def fail():
        with recorded(modules):
            types.update(type(module.processor) for module in modules)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert types == {Recorder}
    assert all(module.processor is processor for module, processor in zip(modules, before, strict=True))


def test_attention_that_is_gone_gives_a_loss_and_a_gradient_of_zero():
    gone = torch.zeros(1, 2, 3, 4, requires_grad=True)
    for loss in ("squared", "norm"):
        (grad,) = torch.autograd.grad(
            resteering_loss(steered([gone], torch.tensor([[False, True, True, False]])), loss), gone
        )
        assert torch.equal(grad, torch.zeros_like(grad))
