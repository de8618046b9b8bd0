"""The command line: the main job on a tiny model, and two lines with an exit code for every mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest


def test_run_and_leaderboard(fake, call, tmp_path):
    store = ("--store", tmp_path / "s")
    code, out, err = call("run", "letters-quick", "--method", "shift", *store, "--device", "cpu")
    assert code == 0
    assert "shift" in out
    assert "unedited" in out
    assert "prompt-swap" in out
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "60 images" in err
    assert "edit 2/2 edits" in err

    code, again, err = call("run", "letters-quick", "--method", "shift", *store, "--device", "cpu")
    assert (code, again) == (0, out)
    assert "images" not in err

    code, table, _ = call("leaderboard", "letters-quick", "--format", "csv", *store)
    assert code == 0
    assert "shift" in table
    code, text, _ = call("leaderboard", "letters-quick", "--format", "json", *store)
    board = json.loads(text)
    assert board["schema"].startswith("unlearnbench.board/")
    code, text, _ = call("leaderboard", "letters-quick", "--by", "concept", "-f", "md", *store)
    assert "alpha" in text
    assert call("leaderboard", "letters-quick", "-f", "md", "-o", tmp_path / "b.md", *store)[0] == 0
    assert "shift" in (tmp_path / "b.md").read_text()

    (scores,) = (tmp_path / "s").glob("v1/results/*/shift@0.parquet")
    assert len(pd.read_parquet(scores)) == 36
    assert call("store", "verify", *store)[0] == 0
    code, listing, _ = call("store", "ls", "--json", *store)
    assert {row["stage"] for row in json.loads(listing)} == {"edit", "sample", "score"}


def test_a_failing_method_ends_with_1_and_stays_on_the_board(fake, call):
    code, out, err = call("run", "letters-quick", "--method", "broken", "--device", "cpu")
    assert code == 1
    assert "broken" in out
    assert "1 of 2" in out
    assert "the weights exploded" in err


def test_an_edit_that_is_not_ok_ends_with_1_every_time(fake, call):
    for _ in range(2):
        code, out, err = call("run", "letters-quick", "--method", "idle", "--device", "cpu")
        assert code == 1
        assert "2 of 2 no-op" in " ".join(out.split())
        assert "no tensor has another value than before" in " ".join(err.split())
        assert "2 edits are not ok" in err


def test_a_control_that_does_nothing_is_marked_and_fails_no_run(fake, call, tmp_path):
    suite = tmp_path / "mine.toml"
    text = Path(os.environ["FAKE_SUITE"]).read_text()
    suite.write_text(text.replace("\n[sampler]", '\ncontrols = [{ name = "still" }]\n\n[sampler]', 1))
    for arguments in (("letters-quick", "--method", "still"), (suite,)):
        code, out, err = call("run", *arguments, "--device", "cpu", "-f", "md")
        assert code == 0, err
        (row,) = (line for line in out.splitlines() if line.startswith("| control | still"))
        assert "2 of 2 no-op" in row
        assert "- still is a control, without a rank: Idle for tests." in out
        assert "no-op: still alpha: no tensor has another value" in " ".join(err.split())
    # The suite and the command line name it: one row; and a method is not ok beside it.
    code, out, err = call("run", suite, "--method", "still", "--method", "idle", "--device", "cpu", "-f", "csv")
    assert code == 1
    assert "2 edits are not ok" in err
    assert len([line for line in out.splitlines() if line.startswith("still,forget,")]) == 1


def test_a_method_is_no_control_of_a_suite(fake, call, tmp_path):
    suite = tmp_path / "mine.toml"
    text = Path(os.environ["FAKE_SUITE"]).read_text()
    for given, what in (
        ('[{ name = "shift" }]', "suite letters-quick calls 'shift' a control, and it is a method"),
        ('[{ name = "stil" }]', "unknown method 'stil'"),
        ('[{ name = "still" }, { name = "still" }]', "controls: lists an entry twice"),
    ):
        suite.write_text(text.replace("\n[sampler]", f"\ncontrols = {given}\n\n[sampler]", 1))
        code, out, err = call("run", suite, "--method", "shift", "--device", "cpu")
        assert (code, out) == (2, "")
        assert what in err.splitlines()[0]


def test_lists_mark_controls(fake, call):
    listed = {row["name"]: row["control"] for row in json.loads(call("list", "methods", "--json")[1])}
    assert (listed["still"], listed["idle"]) == (True, False)
    words = " ".join(call("list", "methods")[1].split())
    assert words.count("control: Idle for") == 1
    assert "control true" in " ".join(call("show", "still")[1].split())


def test_all_skipped_ends_with_1(fake, call):
    code, out, _ = call("run", "letters-quick", "--method", "picky", "--device", "cpu")
    assert code == 1
    assert "it only forgets numbers" in " ".join(out.split())


def test_dry_run_writes_nothing(fake, call, tmp_path):
    store = tmp_path / "s"
    code, out, _ = call("run", "letters-quick", "--method", "shift", "--dry-run", "--store", store)
    assert code == 0
    assert "edit        2 tasks, 0 of them stored" in out
    assert "60" in out
    assert not store.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "what", "hint"),
    [
        ("rum", 2, "unknown command 'rum'", "did you mean 'run'?"),
        ("run nowhere", 2, "unknown suite 'nowhere'", "unlearnbench list suites"),
        ("run leters-quick", 2, "unknown suite 'leters-quick'", "did you mean 'letters-quick'?"),
        ("run letters-quick --method shfit", 2, "unknown method 'shfit'", "did you mean 'shift'?"),
        ("run letters-quick --method shift --concept alfa", 2, "unknown concept 'alfa'", "did you mean 'alpha'?"),
        ("run letters-quick --method shift --model tinny", 2, "no model 'tinny'", "did you mean tiny?"),
        ("run letters-quick --method shift --model no/where", 3, "model no/where is not on this machine", "network"),
        ("run letters-quick --method shift --evaluator bright", 2, "unknown evaluator 'bright'", "brightness"),
        ("run letters-quick --method shift -p amuont=1", 2, "unknown field 'amuont'", "unlearnbench show shift"),
        ("run letters-quick --method shift -p amount=11", 2, "less than or equal to 10, got 11", "unlearnbench show"),
        ("run letters-quick --method shift -p amount=much", 2, "valid number", "unlearnbench show shift"),
        ("run letters-quick --method shift -p amount", 2, "-p amount is not of the form K=V", "type for example"),
        ("run letters-quick --method shift --method other -p amount=1", 2, "several methods run", "shift.amount=1"),
        ("run letters-quick --method shift -p shfit.amount=1", 2, "unknown plugin in -p 'shfit'", "'shift'"),
        ("run letters-quick --method shift -p brightness.threshold=2", 2, "less than or equal to 1", "show brightness"),
        ("run letters-quick --method shift --store {file}/s", 3, "cannot write", "--store DIR"),
        ("run {typo} --method shift", 2, "unknown field 'forgett'", "mend it"),
        ("run {broken} --method shift", 2, "is no TOML", "mend that line"),
        ("run {tmp}/none.toml --method shift", 2, "none.toml: No such file", "unlearnbench list suites"),
        ("run letters-quick --mehtod shift", 2, "No such option", "--help"),
        ("run letters-quick --seed -1", 2, "--seed", "--help"),
        ("leaderboard nowhere", 2, "unknown suite 'nowhere'", "unlearnbench list suites"),
        ("leaderboard letters-quick", 3, "no scores of suite 'letters-quick'", "unlearnbench run letters-quick"),
        ("show shifft", 2, "unknown name 'shifft'", "did you mean 'shift'?"),
        ("show {file}.safetensors", 2, "cannot be read as safetensors", "name the edit.safetensors"),
        ("edit --method shift --concept x --model tiny -o {file}", 2, "exists", "name a new folder"),
        ("edit --method shift --concept x --model tiny -o {file}/y", 3, "cannot write", "another folder"),
        ("edit --method picky --concept x --model tiny -o {tmp}/new", 2, "only forgets numbers", "another method"),
        ("edit --method shift --concept 7 --model tiny -o {tmp}/new", 2, "'7' is no concept", "letter"),
    ],
)  # fmt: skip
def test_a_mistake_is_two_lines_and_writes_nothing(fake, call, tmp_path, arguments, code, what, hint):
    file, typo, broken = tmp_path / "file", tmp_path / "typo.toml", tmp_path / "broken.toml"
    file.write_text("x")
    (tmp_path / "file.safetensors").write_text("x")
    source = Path(os.environ["FAKE_SUITE"]).read_text()
    typo.write_text(source.replace("forget =", "forgett ="))
    broken.write_text(source + "\n[")
    before = sorted(tmp_path.rglob("*"))
    words = arguments.format(file=file, tmp=tmp_path, typo=typo, broken=broken).split()
    found, out, err = call(*words)
    assert (found, out) == (code, "")
    lines = err.splitlines()
    assert len(lines) == 2, err
    assert what in lines[0]
    assert hint in lines[1]
    assert sorted(tmp_path.rglob("*")) == before


LIGHT = """
import sys
from unlearnbench.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    heavy = {"torch", "diffusers", "transformers"} & set(sys.modules)
    assert not heavy, heavy
    sys.exit(end.code)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"], ["--version"], ["list", "methods"], ["list", "concepts"], ["show", "alphaedit"], ["show", "uce"],
        ["show", "emoji20"], ["plugins"], ["plugins", "--failed"], ["run", "--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_looking_imports_nothing_heavy(arguments):
    done = subprocess.run([sys.executable, "-c", LIGHT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_planning_and_boards_import_nothing_heavy(fake, call, tmp_path):
    store = str(tmp_path / "s")
    assert call("run", "letters-quick", "--method", "shift", "--store", store, "--device", "cpu")[0] == 0
    for arguments in (
        ["run", "letters-quick", "--method", "shift", "--store", store, "--dry-run"],
        ["run", "letters-quick", "--method", "shift", "--store", store],
        ["leaderboard", "letters-quick", "--store", store],
        ["store", "verify", "--store", store],
    ):
        code = f"import sys; sys.path[:0] = {sys.path!r}\n{LIGHT}"
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_edit_writes_what_changed(fake, call, tmp_path):
    from safetensors import safe_open

    out = tmp_path / "new"
    code, said, _ = call(
        "edit", "--method", "shift", "--concept", "van gogh", "--model", "tiny", "-o", out, "--device", "cpu"
    )
    assert code == 0
    assert "tensors changed" in said
    with safe_open(out / "edit.safetensors", "pt") as stream:
        names = list(stream.keys())
    assert names
    assert all(name.endswith("attn2.to_k.weight") for name in names)
    code, shown, _ = call("show", out / "edit.safetensors")
    facts = json.loads(shown)
    assert facts["task"]["request"]["forget"][0]["name"] == "van gogh"
    assert set(facts["tensors"]) == set(names)


def test_edit_ends_with_1_if_the_edit_is_not_ok_and_keeps_it_to_be_looked_at(fake, call, tmp_path):
    arguments = ("edit", "--concept", "cat", "--model", fake, "--device", "cpu", "--pipeline")
    code, _, err = call(*arguments, "--method", "nan", "-o", tmp_path / "nan")
    assert code == 1
    assert "broken: it changes the base model" in err
    assert sorted(path.name for path in (tmp_path / "nan").iterdir()) == ["edit.safetensors", "report.json"]
    assert call(*arguments, "--method", "idle", "-o", tmp_path / "idle")[0] == 1
    assert (tmp_path / "idle" / "pipeline").is_dir()
    code, shown, _ = call("show", tmp_path / "idle" / "edit.safetensors")
    assert code == 0
    assert json.loads(shown)["verdict"]["word"] == "no-op"


def test_edit_writes_a_pipeline_that_diffusers_loads(fake, call, tmp_path):
    out = tmp_path / "new"
    assert call(
        "edit", "--method", "shift", "--concept", "alpha", "--dataset", "letters", "--model", "tiny", "-o", out,
        "--pipeline", "--device", "cpu",
    )[0] == 0  # fmt: skip
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import load_file

    unet = UNet2DConditionModel.from_pretrained(out / "pipeline" / "unet", low_cpu_mem_usage=False).state_dict()
    for name, tensor in load_file(out / "edit.safetensors").items():
        assert torch.equal(unet[name.removeprefix("unet.")], tensor)


def test_show_lists_every_parameter_with_its_bounds(fake, call):
    code, out, _ = call("show", "shift", "--json")
    assert code == 0
    (amount, _) = json.loads(out)["parameters"]
    assert amount == {
        "name": "amount", "type": "number, >= 0, <= 10", "default": "1.0",
        "description": "how far the weights move, in weight units",
    }  # fmt: skip


def test_failed_plugins_are_listed_with_1(install, call):
    assert call("plugins", "--failed")[0] == 0
    install("acme-broken", "import does_not_exist")
    code, out, _ = call("plugins", "--failed", "--json")
    assert code == 1
    (record,) = json.loads(out)
    assert record["distribution"] == "acme-broken"
    assert "does_not_exist" in record["reason"]
    assert call("list", "methods")[0] == 0


def test_method_seeds_of_one_row_are_pooled_and_other_parameters_start_anew(fake, call, tmp_path):
    store = ("--store", tmp_path / "s", "--device", "cpu")
    for seed in (0, 1):
        assert call("run", "letters-quick", "--method", "shift", "--seed", seed, *store)[0] == 0
    (place,) = (tmp_path / "s" / "v1" / "results").iterdir()
    assert {p.name for p in place.glob("shift*")} == {"shift@0.parquet", "shift@1.parquet"}
    _, text, _ = call("leaderboard", "letters-quick", "-f", "json", *store[:2])
    (row,) = [r for r in json.loads(text)["rows"] if r["method"] == "shift"]
    assert row["cells"]["forget"]["n_images"] == 24
    suite = Path(os.environ["FAKE_SUITE"]).read_text().replace("amount = 0.5", "amount = 0.25")
    (tmp_path / "other.toml").write_text(suite)
    assert call("run", tmp_path / "other.toml", "--method", "shift", *store)[0] == 0
    assert {p.name for p in place.glob("shift*")} == {"shift@0.parquet"}


def test_half_precision_weights_refuse_a_suite_in_full_precision(fake, call, tmp_path):
    suite = Path(os.environ["FAKE_SUITE"]).read_text().replace("steps = 2", 'steps = 2\ndtype = "float32"')
    (tmp_path / "full.toml").write_text(suite)
    code, out, err = call("run", tmp_path / "full.toml", "--method", "shift", "--dtype", "float16")
    assert (code, out) == (2, "")
    assert err.splitlines()[1] == "type --dtype float32"


def test_a_device_that_is_not_there_ends_the_run_before_any_edit(fake, call, tmp_path):
    code, out, err = call("run", "letters-quick", "--method", "shift", "--device", "gpu", "--store", tmp_path / "s")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 2
    assert not list((tmp_path / "s" / "v1").glob("failures/**/*.json"))


def test_env_names_versions_and_store(call):
    code, out, _ = call("env", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["torch"].startswith("2.")
    assert facts["store"].endswith("default-store")
