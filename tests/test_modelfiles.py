"""Where models are, which files count, and their digests."""

import contextlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from unlearnbench import modelfiles
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.modelfiles import (
    fingerprint_files,
    fingerprint_folder,
    local_folder,
    model_info,
    nothing_downloaded,
    pipeline_files,
    resolve_folder,
    weight_files,
)
from unlearnbench.spec import ModelSpec

UNET = {"in_channels": 4, "sample_size": 64, "cross_attention_dim": 1024}
TEXT = {"hidden_size": 1024, "num_hidden_layers": 23, "max_position_embeddings": 77}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def weights(**shapes):
    """Make the bytes of a safetensors file of zeros."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2
        for n in shape:
            size *= n
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


@pytest.fixture
def folder(tmp_path):
    """A pipeline folder as the hub has it: more files than are needed."""
    root = tmp_path / "model"
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    }
    write(root / "model_index.json", index)
    write(root / "unet/config.json", UNET)
    write(root / "text_encoder/config.json", TEXT)
    write(root / "vae/config.json", {})
    write(root / "scheduler/scheduler_config.json", {"prediction_type": "v_prediction"})
    write(root / "tokenizer/vocab.json", {"a": 0})
    write(root / "tokenizer/merges.txt", b"#version: 0.2\n")
    write(root / "unet/diffusion_pytorch_model.safetensors", weights(conv=(3, 4, 5), bias=(7,)))
    write(root / "unet/diffusion_pytorch_model.fp16.safetensors", weights(conv=(3, 4, 5)))
    write(root / "unet/diffusion_pytorch_model.bin", b"pickle")
    write(root / "text_encoder/model.safetensors", weights(fc=(11,), position_ids=(1, 77)))
    write(root / "vae/diffusion_pytorch_model.safetensors", weights(conv=(100,)))
    write(root / "safety_checker/model.safetensors", weights(conv=(1,)))
    write(root / "README.md", b"words")
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep notes out of the user's own cache."""
    monkeypatch.setattr(modelfiles.platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    return tmp_path / "cache" / "fingerprints"


def two_lines(error):
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert all(lines)
    return lines


# ---------------------------------------------------------------- where
def test_a_name_is_a_shipped_model_then_a_folder_then_a_hub_id(tmp_path, monkeypatch):
    shipped = {"emoji-sd": tmp_path / "shipped"}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "emoji-sd").mkdir()
    (tmp_path / "mine" / "model").mkdir(parents=True)
    assert resolve_folder(ModelSpec(id="emoji-sd"), shipped) == tmp_path / "shipped"
    assert resolve_folder(ModelSpec(id="./emoji-sd"), shipped).resolve() == tmp_path / "emoji-sd"
    assert resolve_folder(ModelSpec(id="mine/model"), shipped).resolve() == tmp_path / "mine" / "model"
    assert resolve_folder(ModelSpec(id="CompVis/stable-diffusion-v1-4"), shipped) == "CompVis/stable-diffusion-v1-4"


@pytest.mark.parametrize("name", ["emoji-ds", "./absent", "/absent/folder", "a/b/c", "../x/y", "https://host/a"])
def test_a_name_that_is_nothing_is_refused(name, tmp_path):
    with pytest.raises(UserError, match="no model") as caught:
        resolve_folder(ModelSpec(id=name), {"emoji-sd": tmp_path})
    assert "emoji-sd" in two_lines(caught)[1]


def test_a_near_miss_is_named(tmp_path):
    with pytest.raises(UserError) as caught:
        resolve_folder(ModelSpec(id="emoji_sd"), {"emoji-sd": tmp_path, "other": tmp_path})
    assert "did you mean emoji-sd?" in caught.value.hint


def hub(monkeypatch, answers):
    """Replace the hub client; each answer is a folder or an error."""
    import huggingface_hub

    calls = []

    def snapshot_download(repo, **options):
        calls.append((repo, options))
        answer = answers[len(calls) - 1]
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def test_a_cached_hub_model_needs_no_network(folder, monkeypatch):
    calls = hub(monkeypatch, [folder])
    assert local_folder("owner/name", "abc") == folder
    assert [options["local_files_only"] for _, options in calls] == [True]
    assert calls[0][1]["revision"] == "abc"


def test_what_is_downloaded_has_no_safety_checker_no_pickle_and_one_variant(folder, tmp_path, monkeypatch):
    from huggingface_hub.utils import filter_repo_objects

    calls = hub(monkeypatch, [FileNotFoundError("not cached"), folder])
    assert local_folder("owner/name") == folder
    options = calls[1][1]
    assert "local_files_only" not in options
    listed = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    kept = filter_repo_objects(
        listed, allow_patterns=options["allow_patterns"], ignore_patterns=options["ignore_patterns"]
    )
    assert set(kept) == {name for name, _ in pipeline_files(folder)}


@pytest.mark.parametrize("download", [True, False])
def test_an_absent_model_is_a_missing_prerequisite(monkeypatch, download):
    calls = hub(monkeypatch, [FileNotFoundError("not cached"), ConnectionError("no network")])
    fetching = contextlib.nullcontext() if download else nothing_downloaded()
    with fetching, pytest.raises(PrerequisiteError, match="owner/name") as caught:
        local_folder("owner/name", "abc")
    assert "hf download owner/name --revision abc" in two_lines(caught)[1]
    assert len(calls) == 1 + download


def test_a_half_downloaded_model_is_fetched_again(tmp_path, folder, monkeypatch):
    shutil.copytree(folder, tmp_path / "partial")
    for path in (tmp_path / "partial" / "unet").glob("*.safetensors"):
        path.unlink()
    calls = hub(monkeypatch, [tmp_path / "partial", folder])
    assert local_folder("owner/name") == folder
    assert len(calls) == 2


def test_other_models_say_which_files_they_need(tmp_path, monkeypatch):
    calls = hub(monkeypatch, [tmp_path])
    (tmp_path / "weights").touch()
    assert local_folder("a/b", patterns=["weights"], files=lambda f: [("weights", f / "weights")]) == tmp_path
    assert calls[0][1]["allow_patterns"] == ["weights"]


# ---------------------------------------------------------------- which files
def test_the_files_that_decide_what_a_pipeline_does(folder):
    assert sorted(name for name, _ in pipeline_files(folder)) == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ]


def test_half_precision_serves_if_there_is_nothing_else(folder):
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    assert weight_files(folder / "unet", "diffusion_pytorch_model") == ["diffusion_pytorch_model.fp16.safetensors"]


def test_shards_are_listed_with_their_index(folder):
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}}
    write(folder / "unet/diffusion_pytorch_model.safetensors.index.json", index)
    assert weight_files(folder / "unet", "diffusion_pytorch_model") == [
        "diffusion_pytorch_model.safetensors.index.json",
        "one.safetensors",
        "two.safetensors",
    ]


def test_pickled_weights_are_refused(folder):
    for path in (folder / "unet").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(UserError, match="only pickled weights") as caught:
        pipeline_files(folder)
    assert "safe_serialization=True" in two_lines(caught)[1]


def test_other_pipelines_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match=r"no model_index\.json"):
        pipeline_files(tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    write(folder / "model_index.json", index | {"unet": [None, None]})
    with pytest.raises(UserError, match="its unet is absent"):
        pipeline_files(folder)
    write(folder / "model_index.json", index | {"text_encoder": ["transformers", "T5EncoderModel"]})
    with pytest.raises(UserError, match="its text_encoder is T5EncoderModel"):
        pipeline_files(folder)
    write(folder / "model_index.json", b"{")
    with pytest.raises(UserError, match="cannot be read") as caught:
        pipeline_files(folder)
    two_lines(caught)


# ---------------------------------------------------------------- what they say
def test_model_info_reads_configurations_and_headers(folder):
    info = model_info(ModelSpec(id="mine"), folder)
    assert info.model_dump() == {
        "id": "mine",
        "fingerprint": fingerprint_folder(folder),
        "family": "sd",
        "prediction": "v_prediction",
        "text_width": 1024,
        "text_layers": 23,
        "text_positions": 77,
        "latent_size": 64,
        "parameters": 60 + 7 + 11,
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [("unet/config.json", UNET | {"in_channels": 9}), ("scheduler/scheduler_config.json", {"prediction_type": "flow"})],
)
def test_models_of_another_kind_are_refused(folder, name, content):
    write(folder / name, content)
    with pytest.raises(UserError, match="not a text-to-image model") as caught:
        model_info(ModelSpec(id="mine"), folder)
    two_lines(caught)


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 20, (2).to_bytes(8, "little") + b"[]", b"\x05" + bytes(7) + b"{nojs"]
)
def test_a_damaged_weight_file_is_named(folder, content):
    write(folder / "unet/diffusion_pytorch_model.safetensors", content)
    with pytest.raises(UserError, match="is not a safetensors file") as caught:
        model_info(ModelSpec(id="mine"), folder)
    two_lines(caught)


# ---------------------------------------------------------------- digests
def test_the_fingerprint_is_of_names_and_contents(folder, tmp_path):
    before = fingerprint_folder(folder)
    moved = folder.rename(tmp_path / "elsewhere")
    os.utime(moved / "unet/config.json", (1, 1))
    (moved / "README.md").write_text("other words")
    (moved / "unet/diffusion_pytorch_model.bin").write_bytes(b"other")
    assert fingerprint_folder(moved) == before
    seen = {before}
    for name, _ in pipeline_files(moved):
        if name.endswith((".safetensors", ".txt")):
            path = moved / name
            path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        else:
            write(moved / name, json.loads((moved / name).read_text()) | {"note": 1})
        seen.add(fingerprint_folder(moved))
    assert len(seen) == 11


def test_the_digest_of_large_files_is_remembered_until_they_change(folder, cache, monkeypatch):
    files = pipeline_files(folder)
    fresh = fingerprint_files(files)
    assert not cache.exists()  # small files are simply hashed
    monkeypatch.setattr(modelfiles, "_REMEMBER", 1)
    assert fingerprint_files(files) == fresh
    assert len(list(cache.iterdir())) == 1

    def fail(_files):
        raise AssertionError("hashed a second time")

    with monkeypatch.context() as patch:
        patch.setattr(modelfiles, "digest_files", fail)
        assert fingerprint_files(list(reversed(files))) == fresh
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert fingerprint_files(files) != fresh


def test_a_cache_that_cannot_be_written_is_no_error(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(modelfiles, "_REMEMBER", 1)
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert fingerprint_folder(folder).startswith("ub1:")


def test_a_missing_shard_is_a_missing_prerequisite(folder):
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    index = {"weight_map": {"a": "one.safetensors"}}
    write(folder / "unet/diffusion_pytorch_model.safetensors.index.json", index)
    with pytest.raises(PrerequisiteError, match=r"one\.safetensors") as caught:
        fingerprint_folder(folder)
    two_lines(caught)


def test_the_module_is_light():
    code = "import sys, unlearnbench.modelfiles; assert not {'torch', 'huggingface_hub'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
