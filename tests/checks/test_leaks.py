"""Leaks are named and put back; what is put back already is no leak."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unlearnbench.checks.writes import watched
from unlearnbench.leaks import Snapshot, contained
from unlearnbench.testing import pytest_plugin

LEAKS = {
    "the environment variable LEAK was set": lambda: os.environ.update(LEAK="1"),
    "the environment variable KEPT was unset": lambda: os.environ.pop("KEPT"),
    "the working directory changed": lambda: os.chdir("/"),
    "the level of the logger 'known' changed": lambda: logging.getLogger("known").setLevel(7),
    "the handlers of the logger 'root' changed": lambda: logging.getLogger().addHandler(logging.NullHandler()),
    "the propagate flag of the logger 'known' changed": lambda: setattr(logging.getLogger("known"), "propagate", False),
    "python's global random state changed": random.random,
    "numpy's global random state changed": lambda: np.random.seed(3),  # noqa: NPY002  the leak
    "torch's global random state changed": lambda: torch.manual_seed(3),
    "torch's grad mode changed": lambda: torch.set_grad_enabled(False),
    "torch's default dtype changed": lambda: torch.set_default_dtype(torch.float64),
    "torch's default device changed": lambda: torch.set_default_device("meta"),
    "torch's number of threads changed": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch's use of deterministic algorithms changed": lambda: torch.use_deterministic_algorithms(True),
    "torch's treatment of subnormal numbers": lambda: torch.set_flush_denormal(True),
}


@pytest.fixture(autouse=True)
def _known(monkeypatch, tmp_path):
    monkeypatch.setenv("KEPT", "yes")
    monkeypatch.chdir(tmp_path)
    logging.getLogger("known")
    torch.use_deterministic_algorithms(False)  # the first call imports torch's compiler, which sets a variable


@pytest.mark.parametrize("what", LEAKS)
def test_a_leak_is_named_alone_and_put_back(what):
    with contained() as first:
        LEAKS[what]()
    assert len(first) == 1
    assert str(first[0]).startswith(what)
    with contained() as second:
        pass
    assert second == []


def test_a_leak_is_put_back_when_the_block_raises():
    found = []

    def fail():
        with contained() as leaks:
            found.append(leaks)
            torch.manual_seed(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    (found,) = found
    assert [leak.group for leak in found] == ["random"]


def test_what_is_put_back_is_no_leak():
    with contained() as found, torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.rand(3)
        random.setstate(random.getstate())
        logging.getLogger("made just now").setLevel(3)
    assert found == []


def test_the_plugin_of_pytest_loads_neither_torch_nor_numpy():
    code = "import sys, unlearnbench.testing.pytest_plugin; "
    code += "assert not {'torch', 'numpy', 'pydantic', 'unlearnbench.api'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def run_item(fixtures, body):
    """Run set-up, body and end of a test item as pytest does."""
    item = SimpleNamespace(fixturenames=fixtures, stash={})
    for hook, inner in (
        (pytest_plugin.pytest_runtest_setup, lambda: None),
        (pytest_plugin.pytest_runtest_teardown, body),
    ):
        steps = hook(item)
        next(steps)
        try:
            steps.send(inner())
        except StopIteration:
            continue
        raise AssertionError("a wrapper yields once")


def test_a_test_that_uses_no_leaks_fails_when_it_leaks():
    with pytest.raises(pytest.fail.Exception, match="the test leaks: the environment variable LEAK was set"):
        run_item(["no_leaks"], lambda: os.environ.update(LEAK="1"))
    assert "LEAK" not in os.environ
    run_item(["no_leaks"], lambda: None)


def test_other_tests_may_leak(monkeypatch):
    monkeypatch.setenv("LEAK", "0")
    run_item(["tmp_path"], lambda: os.environ.update(LEAK="1"))
    assert os.environ["LEAK"] == "1"
    assert Snapshot().restore() == []


def test_writes_are_listed_unless_they_are_allowed(tmp_path):
    allowed, around, elsewhere = (tmp_path / name for name in ("allowed", "around", "elsewhere"))
    for folder in (allowed, around, elsewhere):
        folder.mkdir()
    (elsewhere / "old.txt").write_text("old")
    before = Path.cwd()
    with watched(allowed, around) as found:
        (allowed / "fine.txt").write_text("fine")
        (elsewhere / "old.txt").read_text()
        Path("here.txt").write_text("here")
        (elsewhere / "old.txt").rename(elsewhere / "new.txt")
        subprocess.run(["/bin/sh", "-c", "echo unheard > unheard.txt"], check=True)
        with open(os.devnull, "w") as stream:  # noqa: PTH123  as libraries do
            stream.write("nothing")
    assert Path.cwd() == before
    names = sorted(Path(path).name for path in found)
    assert names == ["here.txt", "new.txt", "old.txt", "unheard.txt"]
    (elsewhere / "later.txt").write_text("nobody listens")
    assert len(found) == 4
