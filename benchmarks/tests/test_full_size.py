"""The measurement at full size, on a small model: it finds what an edit changed, and says what is wrong with it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from unlearnbench.testing import sd14_shaped, tiny_model

SCRIPT = Path(__file__).parents[1] / "perf" / "full_size.py"


@pytest.fixture(scope="module")
def full_size():
    spec = importlib.util.spec_from_file_location("full_size", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)  # dataclasses look themselves up
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def model():
    return tiny_model(width=64, positions=77)


@pytest.fixture(scope="module")
def shapes():
    return sd14_shaped(device="meta")


METHODS = (
    "alphaedit", "uce", "time", "memit", "esd", "ca", "fmn", "siss", "neggrad", "erasediff", "naive-deletion",
)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_method_changes_what_it_has_to(full_size, model, method):
    row = full_size.measure(method, model)
    assert full_size.wrong(row) is None
    assert row["seconds"] > 0
    iterations = row["params"].get("iterations", row["params"].get("edits", 0))
    assert len(row["step_seconds"]) == len(row["step_cpu_seconds"]) == iterations
    assert sum(row["step_seconds"]) <= row["seconds"]
    json.dumps(row, allow_nan=False)


def test_there_is_a_setting_for_each_of_them_and_no_other(full_size):
    assert tuple(full_size.SETTINGS) == METHODS


@pytest.mark.parametrize(
    ("methods", "tensors", "values"),
    [
        (("uce", "time", "ca"), 32, 19_169_280),
        (("esd",), 80, 43_962_560),  # 16 modules of three matrices without bias and one with
        (("alphaedit", "memit"), 11, 11 * 768 * 3072),
        (("siss", "neggrad", "erasediff", "naive-deletion"), 686, 859_520_964),
        # without what follows the last map: to_v, to_out, norm3, ff, proj_out, conv_norm_out, conv_out
        (
            ("fmn",),
            686 - 1 - 2 - 2 - 4 - 2 - 2 - 2,
            859_520_964
            - 320 * 768
            - 320 * 321
            - 2 * 320
            - (320 + 1) * 2560
            - (1280 + 1) * 320
            - 321 * 320
            - 2 * 320
            - (320 * 9 + 1) * 4,
        ),
    ],
)
def test_the_tensors_that_have_to_change_on_the_shapes_of_stable_diffusion_1_4(
    full_size, shapes, methods, tensors, values
):
    sizes = {name: tensor.numel() for name, tensor in shapes.tensors().items()}
    for method in methods:
        expected = full_size.SETTINGS[method].expected(shapes)
        assert len(expected) == tensors
        assert sum(sizes[name] for name in expected) == values


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, None),
        ({"verdict": "no-op"}, None),  # two steps at a paper's learning rate may be too few
        ({"failed": "MemoryError: "}, "MemoryError"),
        ({"verdict": "broken", "reason": "it leaves hooks"}, "it leaves hooks"),
        ({"not_changed": ["unet.a", "unet.b"]}, "it does not change unet.a (2 in all)"),
        ({"others_changed": ["unet.c"]}, "it changes unet.c (1 in all)"),
        ({"finite": False}, "NaN"),
        ({"tensors": 0}, "nothing"),
    ],
)
def test_what_is_wrong_is_said(full_size, row, said):
    sound = {"verdict": "ok", "not_changed": [], "others_changed": [], "finite": True, "tensors": 2}
    found = full_size.wrong(sound | row)
    assert (found is None) if said is None else said in found


def test_an_edit_of_other_tensors_is_found(full_size, model, monkeypatch):
    monkeypatch.setitem(
        full_size.SETTINGS, "uce", full_size.Setting({}, ("unet.*.attn2.to_v.weight", "unet.conv_in.*"))
    )
    row = full_size.measure("uce", model)
    assert row["not_changed"] == ["unet.conv_in.bias", "unet.conv_in.weight"]
    assert row["others_changed"]
    assert all(name.endswith("attn2.to_k.weight") for name in row["others_changed"])


def test_the_first_step_is_left_out_of_the_mean(full_size):
    assert [full_size.later(seconds) for seconds in ([9.0, 1.0, 2.0], [3.0], [])] == ["1.5", "3.0", "-"]


def test_the_command_measures_in_a_process_of_its_own_and_keeps_other_rows(tmp_path):
    (tmp_path / "full-size.json").write_text('[{"method": "esd", "failed": "KeyError: 1"}]', encoding="utf-8")
    command = [sys.executable, str(SCRIPT), "uce", "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "full-size.json").read_text(encoding="utf-8"))
    assert [row["method"] for row in rows] == ["uce", "esd"]
    assert rows[0]["peak_gib"] > 0.1
    assert rows[0]["threads"] == 1
    table = (tmp_path / "full-size.md").read_text(encoding="utf-8")
    assert "| uce | defaults | 8 |" in table
    assert "| esd | failed: KeyError: 1 |" in table


class Dies:
    """A process that the system ends for want of memory."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, *_):
        raise BrokenProcessPool("ended")


def test_a_process_that_dies_is_a_row_and_an_exit_code(full_size, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(full_size, "ProcessPoolExecutor", Dies)
    assert full_size.main(["uce", "--out", str(tmp_path)]) == 1
    assert "enough memory" in capsys.readouterr().err
    assert "enough memory" in (tmp_path / "full-size.md").read_text(encoding="utf-8")


def test_an_unknown_method_is_refused_before_anything_is_written(full_size, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        full_size.main(["nothing", "--out", str(tmp_path / "new")])
    assert end.value.code == 2
    assert "no setting for nothing" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
