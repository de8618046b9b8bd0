"""The model: text, restoration, differences, loading of real-shaped folders."""

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from unlearnbench.edits import same_bits
from unlearnbench.errors import ExitCode, PrerequisiteError, UserError
from unlearnbench.model import Model, load_model, quiet
from unlearnbench.sampling import initial_noise, sample
from unlearnbench.spec import ModelSpec, SamplerSpec
from unlearnbench.testing import sd14_shaped, tiny_folder, tiny_model

FC2 = "text_encoder.text_model.encoder.layers.1.mlp.fc2.weight"
TO_K = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"


@pytest.fixture
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("tiny"))


def values(model):
    return {name: tensor.clone() for name, tensor in model.tensors().items()}


def to_k(model):
    return model.cross_attention()["mid_block.attentions.0.transformer_blocks.0.attn2"].to_k


def assert_pristine(model, before):
    after = model.tensors()
    assert set(after) == set(before)
    assert all(same_bits(after[name], before[name]) for name in before)
    for part in (model.unet, model.text_encoder, model.vae):
        assert not part.training
        assert not any(p.requires_grad or p.grad is not None for p in part.parameters())


# ---------------------------------------------------------------- text
def test_encode_matches_the_pipeline(model):
    embedding = model.encode(["a photo of a dog", ""])
    expected, empty = model.pipe.encode_prompt("a photo of a dog", "cpu", 1, True)
    assert torch.equal(embedding.states[:1], expected)
    assert torch.equal(embedding.states[1:], empty)
    assert not embedding.states.requires_grad
    assert not embedding.states.is_inference()  # a method may use it in its own graph


def test_last_subject_token(model):
    words = ["dog", "a dog", "van gogh", "", " "]
    embedding = model.encode(words)
    pieces = [len(model.tokenizer.tokenize(word)) for word in words]
    assert pieces[2] > 2
    assert embedding.last.tolist() == pieces
    assert embedding.last.tolist()[-2:] == [0, 0]
    eos = model.tokenizer.eos_token_id
    assert all(ids[last + 1] == eos for ids, last in zip(embedding.ids, embedding.last, strict=True))


def test_a_long_prompt_is_cut_before_the_last_position(model):
    embedding = model.encode(["dog " * 100])
    assert embedding.states.shape == (1, 40, 32)
    assert embedding.last.tolist() == [38]
    assert embedding.ids[0, -1] == model.tokenizer.eos_token_id


def test_encode_in_batches_equals_one_by_one(model):
    prompts = [f"a photo of dog {i}" for i in range(70)]
    whole = model.encode(prompts)
    assert whole.states.shape[0] == whole.ids.shape[0] == whole.last.shape[0] == 70
    torch.testing.assert_close(whole.states[69:], model.encode(prompts[69:]).states, rtol=1e-4, atol=1e-5)


def test_encode_uses_the_current_text_encoder(model):
    before = model.encode(["dog"]).states
    with model.edited(), torch.no_grad():
        model.text_layers()[0].mlp.fc2.weight.zero_()
        assert not torch.equal(model.encode(["dog"]).states, before)
    assert torch.equal(model.encode(["dog"]).states, before)


def test_layers_and_cross_attention_by_name(model):
    assert len(model.text_layers()) == model.info.text_layers == 3
    assert list(model.cross_attention()) == [
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2",
        "mid_block.attentions.0.transformer_blocks.0.attn2",
        "up_blocks.1.attentions.0.transformer_blocks.0.attn2",
        "up_blocks.1.attentions.1.transformer_blocks.0.attn2",
    ]


def test_sd14_shapes():
    model = sd14_shaped(device="meta")
    unet = sum(p.numel() for p in model.unet.parameters())
    assert unet == 859_520_964
    assert sum(p.numel() for p in model.text_encoder.parameters()) == 123_060_480
    widths = sorted(module.to_k.weight.shape for module in model.cross_attention().values())
    assert widths == [(320, 768)] * 5 + [(640, 768)] * 5 + [(1280, 768)] * 6


# ---------------------------------------------------------------- edits
def test_diff_holds_what_changed_and_only_that(model):
    with model.edited():
        assert model.diff() == {}
        with torch.no_grad():
            model.text_layers()[1].mlp.fc2.weight[0, 0] += 1
            to_k(model).weight.mul_(2)
            to_k(model).weight.requires_grad_(True)
        diff = model.diff()
        assert list(diff) == [FC2, TO_K]
        assert torch.equal(diff[TO_K], to_k(model).weight)
        assert not any(tensor.requires_grad for tensor in diff.values())


def test_diff_outlives_the_edit(model):
    base = to_k(model).weight.clone()
    with model.edited():
        to_k(model).weight.data.add_(1)
        diff = model.diff()
    assert torch.equal(diff[TO_K], base + 1)


def test_diff_sees_one_bit_and_knows_nan(model):
    with model.edited():
        weight = to_k(model).weight.data
        weight[0, 0] = float("nan")
        assert list(model.diff()) == [TO_K]
    model.apply({TO_K: torch.full((64, 32), float("nan"))})
    assert to_k(model).weight.isnan().all()
    model.restore()
    with model.edited():
        weight = to_k(model).weight.data.view(torch.int32)
        weight[3, 3] ^= 1
        assert list(model.diff()) == [TO_K]
    assert not to_k(model).weight.isnan().any()


def test_diff_needs_the_pristine_copy(model):
    with pytest.raises(RuntimeError, match="edited"):
        model.diff()


def hook(*_args):
    raise AssertionError("a hook of an edit was left behind")


def change_everything(model):
    """Do what careless methods do, and fail."""
    attention = model.cross_attention()["mid_block.attentions.0.transformer_blocks.0.attn2"]
    attention.to_k.weight.data.normal_()
    attention.to_v.weight = torch.nn.Parameter(torch.zeros(3))
    attention.to_q = torch.nn.Linear(1, 1)
    attention.extra = torch.nn.Linear(2, 2)
    attention.register_buffer("cache", torch.zeros(1))
    attention.set_processor(type("Processor", (), {"__call__": hook})())
    model.unet.conv_in.register_forward_hook(hook)
    model.unet.conv_out.register_forward_pre_hook(hook)
    model.unet.conv_out.forward = hook
    model.text_encoder.train()
    model.text_encoder.requires_grad_(True)
    model.unet.conv_in.half()
    model.encode(["dog"])
    layer = model.text_layers()[0].mlp.fc1
    layer.weight.sum().backward()
    layer.weight.data = layer.weight.data * float("nan")
    raise ZeroDivisionError


def test_everything_is_restored_after_an_exception(model):
    before = values(model)
    modules = [list(part.named_modules()) for part in (model.unet, model.text_encoder)]
    ids = torch.zeros(1, 4, 8, 8), 10, model.encode(["dog"]).states
    image = model.unet(*ids).sample
    with pytest.raises(ZeroDivisionError), model.edited():
        change_everything(model)
    assert_pristine(model, before)
    assert [list(part.named_modules()) for part in (model.unet, model.text_encoder)] == modules
    assert torch.equal(model.unet(*ids).sample, image)


def test_an_edit_that_leaves_other_tensors_is_refused(model):
    with model.edited():
        to_k(model).extra = torch.nn.Linear(2, 2)
        with pytest.raises(RuntimeError, match="added or removed"):
            model.diff()
    with model.edited():
        to_k(model).half()
        with pytest.raises(RuntimeError, match=r"changed shape or dtype of unet.*float16"):
            model.diff()
    with model.edited():
        assert model.diff() == {}


def test_each_edit_starts_from_the_base(model):
    before = values(model)
    model.apply({TO_K: torch.zeros(64, 32)})
    with model.edited():
        assert_pristine(model, before)
        to_k(model).weight.data.add_(1)
    with model.edited():
        assert_pristine(model, before)


def test_apply_and_restore_round_trip(model):
    before = values(model)
    with model.edited():
        to_k(model).weight.data.add_(1)
        model.text_layers()[1].mlp.fc2.weight.data.add_(1)
        diff = model.diff()
    fresh = tiny_model()
    fresh.apply(diff)
    assert all(same_bits(fresh.tensors()[name], tensor) for name, tensor in diff.items())
    fresh.restore()
    assert_pristine(fresh, before)
    fresh.apply(diff)
    with pytest.raises(RuntimeError, match="restore"):
        fresh.snapshot()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "no tensor"),
        ({TO_K: torch.zeros(64, 32), "unet.no_such.weight": torch.zeros(1)}, "no tensor unet.no_such.weight"),
        ({FC2: torch.zeros(32, 64), TO_K: torch.zeros(2, 32)}, r"\(2, 32\)"),
    ],
)
def test_apply_refuses_an_edit_that_does_not_fit(model, tensors, message):
    before = values(model)
    with pytest.raises(UserError, match=message) as caught:
        model.apply(tensors)
    assert str(caught.value).count("\n") == 1
    assert_pristine(model, before)


# ---------------------------------------------------------------- loading
@pytest.mark.parametrize("version", [1, 2])
def test_a_folder_loads_as_it_was_saved(tmp_path, capfd, version):
    expected = tiny_model(version=version)
    tiny_folder(tmp_path, version=version)
    model = load_model(ModelSpec(id="tiny"), tmp_path)
    assert_pristine(model, values(expected))
    assert model.info == expected.info.model_copy(update={"id": "tiny", "fingerprint": model.info.fingerprint})
    prompts = ["a photo of a dog", "van gogh", ""]
    assert torch.equal(model.encode(prompts).ids, expected.encode(prompts).ids)
    assert torch.equal(model.encode(prompts).states, expected.encode(prompts).states)
    assert type(model.scheduler).__name__ == "DDIMScheduler"
    assert model.scheduler.config.prediction_type == model.info.prediction
    assert capfd.readouterr() == ("", "")


def test_sd_2_pads_with_an_exclamation_mark_and_cuts_layers():
    first, second = tiny_model(), tiny_model(version=2)
    assert second.info.prediction == "v_prediction"
    assert second.info.text_layers == len(second.text_layers()) == 2
    prompts = ["a dog", "", "van gogh"]
    ids = second.encode(prompts).ids
    assert (ids == 0).sum(dim=1).tolist() == [40 - 4, 40 - 2, 40 - 2 - len(second.tokenizer.tokenize("van gogh"))]
    assert (ids == second.tokenizer.eos_token_id).sum(dim=1).tolist() == [1, 1, 1]
    assert second.encode(prompts).last.tolist() == first.encode(prompts).last.tolist()


def test_sd_2_samples_as_its_pipeline_does():
    model = tiny_model(version=2)
    model.pipe.set_progress_bar_config(disable=True)
    noise = initial_noise(3, 0, 4, 8)[None]
    expected = model.pipe("a dog", num_inference_steps=6, latents=noise, height=16, width=16).images[0]
    image = sample(model, ["a dog"], [3], SamplerSpec(steps=6))[0]
    assert np.abs(np.asarray(image).astype(int) - np.asarray(expected)).max() <= 1


def rewrite_weights(path, change):
    tensors = load_file(path)
    save_file({change(name): tensor.clone() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def test_the_tensor_names_of_old_checkpoints_load(tmp_path):
    """SD 1.4's text encoder has a prefix and position ids, its autoencoder other names for attention."""
    folder = tiny_folder(tmp_path)
    text = folder / "text_encoder" / "model.safetensors"
    old = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in load_file(text).items()}
    save_file(old | {"text_model.embeddings.position_ids": torch.arange(40)[None]}, text, metadata={"format": "pt"})
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename_attention(name):
        for new, previous in names.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{previous}.")
        return name

    rewrite_weights(folder / "vae" / "diffusion_pytorch_model.safetensors", rename_attention)
    model, expected = load_model(ModelSpec(id="tiny"), folder), tiny_model()
    assert_pristine(model, values(expected))
    assert model.info.parameters == expected.info.parameters
    loaded = model.vae.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.vae.state_dict().items())


def test_sharded_weights_load(tmp_path):
    folder = tiny_folder(tmp_path)
    unet = tiny_model().unet
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    unet.save_pretrained(folder / "unet", max_shard_size="1MB")
    assert len(list((folder / "unet").glob("*-of-*.safetensors"))) > 1
    model = load_model(ModelSpec(id="tiny"), folder)
    assert_pristine(model, values(tiny_model()))
    assert model.info.parameters == tiny_model().info.parameters


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_folder_loads_into_the_dtype(folder, dtype):
    model = load_model(ModelSpec(id="tiny"), folder, dtype=dtype)
    assert {tensor.dtype for tensor in model.tensors().values()} == {getattr(torch, dtype)}
    assert next(model.vae.parameters()).dtype == getattr(torch, dtype)


def test_half_precision_files_load_into_float32(folder, tmp_path):
    load_model(ModelSpec(id="tiny"), folder, dtype="float16").save(tmp_path)
    model = load_model(ModelSpec(id="tiny"), tmp_path)
    expected = {name: tensor.half().float() for name, tensor in values(tiny_model()).items()}
    assert_pristine(model, expected)


def rename(folder, pattern, old, new):
    for path in folder.glob(pattern):
        path.rename(path.with_name(path.name.replace(old, new)))


def test_a_folder_with_only_the_fp16_variant_loads(tmp_path):
    tiny_folder(tmp_path)
    rename(tmp_path, "*/*.safetensors", ".safetensors", ".fp16.safetensors")
    assert_pristine(load_model(ModelSpec(id="tiny"), tmp_path), values(tiny_model()))


def test_the_vocabulary_files_of_sd_1_load(folder, tmp_path):
    """SD 1.x ships vocab.json and merges.txt, and a scheduler of another class."""
    tiny_folder(tmp_path)
    tokenizer = tmp_path / "tokenizer"
    content = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    (tokenizer / "vocab.json").write_text(json.dumps(content["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in content["merges"])
    (tokenizer / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    (tokenizer / "tokenizer.json").unlink()
    config = {
        "model_max_length": 40, "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>", "tokenizer_class": "CLIPTokenizer",
    }  # fmt: skip
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(config))
    scheduler = {"_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear", "skip_prk_steps": True}
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    model = load_model(ModelSpec(id="tiny"), tmp_path)
    assert type(model.scheduler).__name__ == "PNDMScheduler"
    prompts = ["a photo of a dog", "van gogh dancing", ""]
    assert torch.equal(model.encode(prompts).ids, tiny_model().encode(prompts).ids)


def test_the_safety_checker_is_never_loaded(tmp_path):
    tiny_folder(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    model = load_model(ModelSpec(id="tiny"), tmp_path)
    assert model.pipe.safety_checker is None


def test_an_absent_hub_model_is_a_missing_prerequisite(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PrerequisiteError) as caught:
        load_model(ModelSpec(id="owner/name"), "owner/name")
    what, hint = str(caught.value).splitlines()
    assert "owner/name" in what
    assert "hf download owner/name" in hint
    assert caught.value.exit_code == ExitCode.PREREQUISITE


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_absent_device_is_a_missing_prerequisite(folder):
    with pytest.raises(PrerequisiteError, match="cuda"):
        load_model(ModelSpec(id="tiny"), folder, "cuda")


def test_a_device_that_does_not_exist_is_a_mistake(folder):
    with pytest.raises(UserError, match="no device 'gpu'"):
        load_model(ModelSpec(id="tiny"), folder, "gpu")


def test_quiet_puts_loggers_and_progress_bars_back():
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)

    def state():
        return [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]

    def fail():
        raise ZeroDivisionError(*(bars for _, bars in state()))

    before = state()
    with pytest.raises(ZeroDivisionError) as caught, quiet():
        fail()
    assert caught.value.args == (False, False)
    assert state() == before


def test_the_model_modules_import_neither_library_at_once():
    import subprocess

    code = "import sys, unlearnbench.model, unlearnbench.sampling, unlearnbench.edits, unlearnbench.testing; "
    code += "assert not {'diffusers', 'transformers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
