"""Fixtures for the tests of plugins; pytest loads this module wherever unlearnbench is installed, so it is light."""

from __future__ import annotations

import importlib
import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

_SNAPSHOT = pytest.StashKey[Any]()
_FAKES = "unlearnbench-fakes"


@dataclass(frozen=True)
class CommandResult:
    """How a command ended: its exit code, what it wrote to stdout and to stderr."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def temporary_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a store of this test's own; the hub is never asked, and tables are 80 columns wide."""
    store = tmp_path / "store"
    monkeypatch.setenv("UNLEARNBENCH_STORE", str(store))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    return store


@pytest.fixture
def run_unlearnbench(temporary_store: Path) -> Callable[..., CommandResult]:
    """Return a function that runs a command in the temporary store: `run_unlearnbench("list", "methods")`."""

    def run(*arguments: object) -> CommandResult:
        from unlearnbench.cli import main

        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        return CommandResult(int(end.value.code or 0), out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def fake_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install fakes for this test and return the model's folder.

    They are the suite `letters-quick`, its model `tiny` (random weights), its data set `letters`, its evaluator
    `brightness` and the method `shift`, so that `run letters-quick --method yours` makes a board in seconds.
    """
    from unlearnbench.testing.fake_plugin import MODEL_FOLDER
    from unlearnbench.testing.models import tiny_folder

    info = tmp_path / "fakes" / f"{_FAKES.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {_FAKES}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[unlearnbench]\nfakes = unlearnbench.testing.fake_plugin\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(info.parent))
    importlib.invalidate_caches()
    folder = tiny_folder(tmp_path / "tiny")
    monkeypatch.setenv(MODEL_FOLDER, str(folder))
    return folder


# ---------------------------------------------------------------- leaks
@pytest.fixture
def no_leaks() -> None:
    """Fail the test if it leaves environment, working directory, loggers, random state or settings of torch changed."""


def _watched(item: pytest.Item) -> bool:
    return "no_leaks" in getattr(item, "fixturenames", ())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Look at the state before any fixture of the test is set up."""
    if _watched(item):
        from unlearnbench.leaks import Snapshot

        item.stash[_SNAPSHOT] = Snapshot()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Look again after all its fixtures have been torn down, and put everything back for the next test."""
    try:
        result = yield
    finally:
        leaks = item.stash[_SNAPSHOT].restore() if _SNAPSHOT in item.stash else []
    if leaks:
        pytest.fail(f"the test leaks: {', '.join(str(leak) for leak in leaks)}", pytrace=False)
    return result
