"""The tutorial goes as its page says, in this process; `tox -e stranger` runs it in a shell, from wheels."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shlex
import sys
from pathlib import Path

import pytest

from unlearnbench.cli import main

HERE = Path(__file__).parent


def load(name):
    spec = importlib.util.spec_from_file_location(f"tests_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tutorial, scaffold = load("tutorial"), load("test_scaffold")


def forget_package():
    for name in [m for m in sys.modules if m == "unlearnbench_nudge" or m.startswith("unlearnbench_nudge.")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def test_every_step_goes_as_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    package = tmp_path / tutorial.PACKAGE
    said = []
    try:
        for step in tutorial.steps():
            forget_package()
            if isinstance(step, tutorial.Change):
                step.apply(package)
                continue
            program, *words = shlex.split(step.line)
            if program == "pip":
                assert words in (["install", "-e", tutorial.PACKAGE], ["install", "pytest"])
                if "-e" in words:
                    source = scaffold.declare(package)
                    monkeypatch.syspath_prepend(source)
                    monkeypatch.setenv("PYTHONPATH", source, prepend=os.pathsep)
            elif program == "pytest":
                assert words == [tutorial.PACKAGE]  # test_scaffold runs these tests
            else:
                assert program == "unlearnbench"
                if words[0] == "leaderboard":
                    continue  # there is nothing to show: only `tox -e stranger` makes the images
                with pytest.raises(SystemExit) as end:
                    main([*words, "--dry-run"] if words[0] == "run" else words)
                out, err = capsys.readouterr()
                assert int(end.value.code or 0) == step.code, f"{step.line}\n{out}{err}"
                said.append((step.line, out))
    finally:
        forget_package()
    (refused,) = [out for line, out in said if line == "unlearnbench check nudge" and "failed" in out.splitlines()[-1]]
    assert "check_changes_what_it_declares" in refused
    assert "to_k" in refused
    runs = [out for line, out in said if line == "unlearnbench run --method nudge -c dog"]
    assert len(runs) == 2
    assert "rows unedited, prompt-swap, nudge" in runs[0]


def test_the_page_names_every_file_that_is_written():
    text = tutorial.PAGE.read_text(encoding="utf-8")
    written = scaffold.new("method", "nudge", Path(os.environ["UNLEARNBENCH_STORE"]).parent, scaffold.load_plugins())
    files = sorted(p.relative_to(written).as_posix() for p in written.rglob("*") if p.is_file())
    assert f"writes {['six', 'seven', 'eight'][len(files) - 6]} short files" in text
    for file in files:
        assert file.endswith("py.typed") or f"| `{file}` |" in text


def test_a_change_that_does_not_fit_is_an_error(tmp_path):
    (tmp_path / "a.py").write_text("one\none\n")
    with pytest.raises(ValueError, match="holds this 2 times"):
        tutorial.Change("a.py", "one\n", "two\n").apply(tmp_path)
