"""The text encoder from inside."""

import pytest
import torch

from unlearnbench.editing.layers import captured, prefixes, replaced, without_bias
from unlearnbench.testing import tiny_model
from unlearnbench_alphaedit.encoder import fc2_layers, first_of_each, moments, states

PROMPTS = ["a photo of a cat", "a photo of a dog", "cat", "", "a photo of a cat with a bird in the rain"]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_fc2_is_found_in_both_layouts_of_transformers(model):
    flat = fc2_layers(model.text_encoder)
    holder = torch.nn.Module()
    holder.text_model = getattr(model.text_encoder, "text_model", model.text_encoder)
    assert list(flat) == [0, 1, 2]
    assert [id(x) for x in flat.values()] == [id(x) for x in fc2_layers(holder).values()]
    assert [id(x) for x in flat.values()] == [id(layer.mlp.fc2) for layer in model.text_layers()]


def test_layers_are_sorted_by_number_not_by_name():
    encoder = torch.nn.Module()
    encoder.encoder = torch.nn.Module()
    encoder.encoder.layers = torch.nn.ModuleList()
    for _ in range(12):
        layer = torch.nn.Module()
        layer.mlp = torch.nn.Module()
        layer.mlp.fc1, layer.mlp.fc2 = torch.nn.Linear(2, 4), torch.nn.Linear(4, 2)
        encoder.encoder.layers.append(layer)
    assert list(fc2_layers(encoder)) == list(range(12))
    assert all(layer.in_features == 4 for layer in fc2_layers(encoder).values())


def test_captured_inputs_give_the_captured_outputs(model):
    layers = fc2_layers(model.text_encoder)
    ids = model.tokenize(PROMPTS)[0]
    with captured(layers) as seen, torch.no_grad():
        states(model, ids)
    assert set(seen) == {0, 1, 2}
    for number, (inputs, output) in seen.items():
        layer = layers[number]
        assert inputs.shape == (5, 40, 64)
        torch.testing.assert_close(inputs @ layer.weight.T, without_bias(layer, output), rtol=0, atol=1e-5)
    assert not any(layer._forward_hooks for layer in layers.values())


def test_a_replaced_output_is_used_and_gets_the_gradient(model):
    layer = fc2_layers(model.text_encoder)[1]
    ids = model.tokenize(PROMPTS)[0]
    before = states(model, ids).detach()
    with captured({1: layer}) as seen, torch.no_grad():
        states(model, ids)
    value = without_bias(layer, seen[1][1]).clone().requires_grad_(True)
    with replaced(layer, value):
        same = states(model, ids)
        torch.testing.assert_close(same, before, rtol=0, atol=1e-5)
        same.square().sum().backward()
    assert value.grad.abs().max() > 0
    assert not layer._forward_hooks
    assert torch.equal(states(model, ids), before)


def test_positions_with_the_same_prefix_have_one_number(model):
    ids = model.tokenize([*PROMPTS, "cat"])[0]
    groups = prefixes(ids)
    rows = [tuple(row[: p + 1]) for row in ids.tolist() for p in range(ids.shape[1])]
    flat = groups.flatten().tolist()
    for i, a in enumerate(rows):
        for j in range(i):
            assert (flat[i] == flat[j]) == (a == rows[j])
    assert sorted(set(flat)) == list(range(len(set(flat))))


def test_columns_with_the_same_prefix_are_equal_in_every_layer(model):
    ids = model.tokenize(PROMPTS)[0]
    with captured(fc2_layers(model.text_encoder)) as seen, torch.no_grad():
        states(model, ids)
    groups = prefixes(ids).flatten()
    first, counts = first_of_each(groups)
    assert int(counts.sum()) == ids.numel() > len(counts)
    for inputs, _ in seen.values():
        flat = inputs.flatten(0, 1)
        torch.testing.assert_close(flat, flat[first][groups], rtol=0, atol=1e-5)


@pytest.mark.parametrize("repeat", [1, 9])
def test_moments_count_every_position_of_every_prompt(model, repeat):
    layers = fc2_layers(model.text_encoder)
    prompts = [f"{prompt} {i}".strip() if i else prompt for i in range(repeat) for prompt in PROMPTS]
    found = moments(model, layers, prompts)
    with captured(layers) as seen, torch.no_grad():
        states(model, model.tokenize(prompts)[0])
    for number, (inputs, _) in seen.items():
        K0 = inputs.flatten(0, 1).double().numpy()
        assert found[number].columns == len(K0) == 40 * len(prompts)
        torch.testing.assert_close(found[number].gram, torch.tensor(K0.T @ K0), rtol=1e-4, atol=1e-4)


def test_without_retain_prompts_there_are_no_columns(model):
    found = moments(model, fc2_layers(model.text_encoder), [])
    assert all(moment.columns == 0 and not moment.gram.any() for moment in found.values())
