"""Edit files: round trip, refusals, and loading without unlearnbench."""

import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from unlearnbench.api import Sampling
from unlearnbench.edits import EditFile, check_base, cpu_copy, read_edit, same_bits, write_edit
from unlearnbench.errors import UserError
from unlearnbench.testing import tiny_model
from unlearnbench.verdict import Effects, Verdict

TO_K = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
FC2 = "text_encoder.text_model.encoder.layers.1.mlp.fc2.weight"


def edit_file(**changes):
    values = {
        "tensors": {TO_K: torch.randn(64, 32, generator=torch.Generator().manual_seed(0)), FC2: torch.ones(32, 64)},
        "key": "ub1:" + "a" * 64,
        "base": "ub1:" + "b" * 64,
        "task": {"method": "uce", "params": {"lamb": 0.1, "layers": None}, "request": {"forget": ["Größe"]}},
        "sampling": Sampling(negative_prompt="a dog", rewrite={"dog": "cat"}),
        "seconds": 0.1 + 0.2,
        "peak_mem_mb": 12.5,
        "report": {"rank": 3, "layers": ["a", "b"]},
        "verdict": Verdict(word="ok", reason="it moved", effects=Effects(retain_drift=0.1)),
    }
    return EditFile(**{**values, **changes})


def test_an_edit_comes_back_bit_for_bit(tmp_path):
    edit = edit_file()
    edit.tensors[TO_K][0, 0] = float("nan")
    edit.tensors[TO_K][0, 1] = -0.0
    write_edit(tmp_path / "edit.safetensors", edit)
    back = read_edit(tmp_path / "edit.safetensors")
    assert set(back.tensors) == {TO_K, FC2}
    assert all(same_bits(back.tensors[name], edit.tensors[name]) for name in edit.tensors)
    for field in ("key", "base", "task", "sampling", "seconds", "peak_mem_mb", "report", "verdict"):
        assert getattr(back, field) == getattr(edit, field)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_dtype_is_kept(tmp_path, dtype):
    tensors = {TO_K: torch.randn(4, 4).to(dtype)}
    write_edit(tmp_path / "e", edit_file(tensors=tensors))
    assert same_bits(read_edit(tmp_path / "e").tensors[TO_K], tensors[TO_K])


def test_an_edit_that_acts_at_inference_needs_no_tensor(tmp_path):
    write_edit(tmp_path / "e", edit_file(tensors={}))
    back = read_edit(tmp_path / "e")
    assert back.tensors == {}
    assert back.sampling == Sampling(negative_prompt="a dog", rewrite={"dog": "cat"})


def test_a_file_of_before_there_were_verdicts_has_none(tmp_path):
    write_edit(tmp_path / "e", edit_file())
    with safe_open(tmp_path / "e", framework="pt") as stream:
        metadata = {name: value for name, value in stream.metadata().items() if name != "verdict"}
    save_file({TO_K: torch.ones(2, 2)}, tmp_path / "old", metadata=metadata)
    assert read_edit(tmp_path / "old").verdict is None


def test_unknown_costs_stay_unknown(tmp_path):
    write_edit(tmp_path / "e", edit_file(seconds=float("nan"), peak_mem_mb=float("nan"), sampling=None))
    back = read_edit(tmp_path / "e")
    assert math.isnan(back.seconds)
    assert math.isnan(back.peak_mem_mb)
    assert back.sampling is None


def test_diagnostics_of_any_kind_are_stored(tmp_path):
    report = {"loss": torch.tensor(0.5), "spectrum": torch.tensor([1.0, 2.0]), "path": tmp_path}
    write_edit(tmp_path / "e", edit_file(report=report))
    assert read_edit(tmp_path / "e").report == {"loss": 0.5, "spectrum": [1.0, 2.0], "path": str(tmp_path)}


def test_tensors_that_share_memory_are_written(tmp_path):
    whole = torch.arange(8.0)
    write_edit(tmp_path / "e", edit_file(tensors={TO_K: whole[:4], FC2: whole[::2]}))
    assert read_edit(tmp_path / "e").tensors[FC2].tolist() == [0.0, 2.0, 4.0, 6.0]


def test_an_edit_file_applies_to_a_model(tmp_path):
    model = tiny_model()
    base = {name: value.clone() for name, value in model.tensors().items()}
    with model.edited():
        for attention in model.cross_attention().values():
            attention.to_k.weight.data.normal_()
        model.text_layers()[0].mlp.fc2.weight.data.normal_()
        diff = model.diff()
    assert len(diff) == 5
    write_edit(tmp_path / "e", edit_file(tensors=diff))
    model.apply(read_edit(tmp_path / "e").tensors)
    for name, value in model.tensors().items():
        assert same_bits(value, diff.get(name, base[name]))


def test_an_edit_file_loads_without_unlearnbench(tmp_path):
    model, untouched = tiny_model(), tiny_model()
    with model.edited():
        model.cross_attention()["mid_block.attentions.0.transformer_blocks.0.attn2"].to_k.weight.data.normal_()
        model.text_layers()[1].mlp.fc2.weight.data.normal_()
        write_edit(tmp_path / "edit.safetensors", edit_file(tensors=model.diff()))
    pipe = untouched.pipe

    # What a user without unlearnbench types:
    from safetensors.torch import load_file

    edit = load_file(tmp_path / "edit.safetensors")
    for part in ("unet", "text_encoder"):
        module = getattr(pipe, part)
        own = module.state_dict()
        values = {k.removeprefix(f"{part}."): v for k, v in edit.items() if k.startswith(f"{part}.")}
        values = {k if k in own else k.removeprefix("text_model."): v for k, v in values.items()}
        module.load_state_dict(own | values)

    model.apply(edit)
    assert {TO_K, FC2} == set(edit)
    assert all(same_bits(a, b) for a, b in zip(model.tensors().values(), untouched.tensors().values(), strict=True))


def refusal(path):
    with pytest.raises(UserError) as caught:
        read_edit(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    return lines[0]


def test_a_file_that_is_no_edit_is_refused_in_two_lines(tmp_path):
    path = tmp_path / "e"
    assert "cannot be read" in refusal(path)
    path.write_bytes(b"not safetensors at all")
    assert "cannot be read" in refusal(path)
    save_file({"lora": torch.zeros(2)}, path)
    assert "not an edit file" in refusal(path)
    save_file({"lora": torch.zeros(2)}, path, metadata={"format": "pt"})
    assert "its format is pt" in refusal(path)
    save_file({"lora": torch.zeros(2)}, path, metadata={"format": "unlearnbench-edit/1"})
    assert "header" in refusal(path)
    write_edit(path, edit_file())
    path.write_bytes(path.read_bytes()[:-8])
    assert "cannot be read" in refusal(path)
    refusal(tmp_path)


def test_an_edit_of_another_model_is_refused():
    info = tiny_model().info
    check_base(edit_file(base=info.fingerprint), info)
    with pytest.raises(UserError, match=r"bbbbbbbbbbbb.*tiny-0"):
        check_base(edit_file(), info)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (torch.tensor([float("nan")]), torch.tensor([float("nan")]), True),
        (torch.tensor([0.0]), torch.tensor([-0.0]), False),
        (torch.zeros(2), torch.zeros(3), False),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64), False),
        (torch.arange(6.0).reshape(2, 3).T, torch.arange(6.0).reshape(2, 3).T.contiguous(), True),
        (torch.tensor(1), torch.tensor(1), True),
        (torch.zeros(0), torch.zeros(0), True),
        (torch.tensor([True]), torch.tensor([False]), False),
    ],
)
def test_comparison_is_of_bits(a, b, same):
    assert same_bits(a, b) is same


def test_a_cpu_copy_shares_nothing():
    tensor = torch.zeros(3, requires_grad=True)
    copy = cpu_copy(tensor)
    copy += 1
    assert tensor.tolist() == [0, 0, 0]
    assert not copy.requires_grad
