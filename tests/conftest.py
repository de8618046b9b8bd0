"""Fixtures shared by all tests: a store of its own for each test, and installable fake distributions."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

FAKE = Path(__file__).parent / "fake"


@pytest.fixture(autouse=True)
def _own_store(tmp_path, monkeypatch):
    """No test reads or writes the user's store, colours its output, or asks the network."""
    monkeypatch.setenv("UNLEARNBENCH_STORE", str(tmp_path / "default-store"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("UNLEARNBENCH_DISABLE_PLUGINS", raising=False)


@pytest.fixture
def call(capsys):
    """Return a function that runs the command line in this process: (exit code, stdout, stderr)."""
    from unlearnbench.cli import main

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a distribution: its metadata, its entry point and the code of its module."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    names = []

    def install(distribution: str, code: str, *, version: str = "1.0", entry: str | None = None) -> Path:
        module = distribution.replace("-", "_")
        names.append(module)
        (site / f"{module}.py").write_text(code)
        info = site / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[unlearnbench]\n{entry or module} = {module}\n")
        importlib.invalidate_caches()
        return site / f"{module}.py"

    yield install
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def fake(install, tmp_path, monkeypatch):
    """Install the fake distribution: a tiny random model, four concepts, methods that go well and badly, a judge."""
    from unlearnbench.testing import tiny_folder

    folder = tiny_folder(tmp_path / "tiny")
    monkeypatch.setenv("FAKE_MODEL", str(folder))
    monkeypatch.setenv("FAKE_SUITE", str(FAKE / "fake.toml"))
    install("unlearnbench-fake", (FAKE / "plugin.py").read_text())
    monkeypatch.syspath_prepend(str(FAKE / "modules"))
    yield folder
    for name in ("fake_params", "fake_method", "fake_judge", "fake_dataset"):
        sys.modules.pop(name, None)
