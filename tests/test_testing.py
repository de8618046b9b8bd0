"""The models for tests: random, repeatable, and shaped like Stable Diffusion."""

import pytest
import torch

from unlearnbench.edits import same_bits
from unlearnbench.model import quiet
from unlearnbench.testing import sd14_shaped, tiny_folder, tiny_model


def tensors(model):
    return {**model.tensors(), **{f"vae.{name}": tensor for name, tensor in model.vae.state_dict().items()}}


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, other = tensors(tiny_model(1)), tensors(tiny_model(2))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    again = tensors(tiny_model(1))
    assert all(same_bits(first[name], again[name]) for name in first)
    assert not any(same_bits(first[name], other[name]) for name in first if name.endswith("to_k.weight"))
    assert tiny_model(1).info == tiny_model(1).info
    assert len({tiny_model(seed, version=v).info.fingerprint for seed in (1, 2) for v in (1, 2)}) == 4


@pytest.mark.parametrize("version", [1, 2])
def test_any_text_has_tokens_of_its_own(version):
    tokenizer = tiny_model(version=version).tokenizer
    for text in ("a photo of a dog", "größe 5€ & 狗", "it's red-green"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids[1:-1]
        assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")
    assert len(tokenizer.tokenize("dog")) == 1
    assert len(tokenizer.tokenize("van gogh")) > 2


@pytest.mark.parametrize("version", [1, 2])
def test_the_folder_is_one_that_diffusers_loads(tmp_path, version):
    with quiet():
        from diffusers import StableDiffusionPipeline

        pipe = StableDiffusionPipeline.from_pretrained(tiny_folder(tmp_path, version=version))
    pipe.set_progress_bar_config(disable=True)
    image = pipe("a dog", num_inference_steps=2, height=16, width=16).images[0]
    assert image.size == (16, 16)


def test_sd14_shapes_take_no_memory_on_meta():
    model = sd14_shaped(device="meta")
    assert {tensor.device.type for tensor in model.tensors().values()} == {"meta"}
    assert model.info.parameters == 859_520_964 + 123_060_480
    assert len(model.text_layers()) == 12
    assert model.text_layers()[0].mlp.fc2.weight.shape == (768, 3072)


@pytest.mark.slow
def test_sd14_weights_give_finite_activations():
    model = sd14_shaped(dtype="bfloat16")
    states = model.encode(["a photo of a dog", ""]).states
    assert 0.5 < states.float().std() < 2
    noise = torch.randn(1, 4, 8, 8, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(0))
    assert model.unet(noise, 500, states[:1]).sample.isfinite().all()
