"""A run that is killed at random moments goes on, and ends with the scores of an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from unlearnbench.store import Store


def start(store, environ):
    command = [
        sys.executable, "-c", "from unlearnbench.cli import main; main()",
        "run", "letters-quick", "--method", "shift", "--device", "cpu", "--batch-size", "1", "--store", str(store),
    ]  # fmt: skip
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def scores(store):
    tables = [pd.read_parquet(p) for p in sorted(Path(store).glob("v1/results/*/*.parquet"))]
    return pd.concat(tables).drop(columns="edit_seconds").reset_index(drop=True)


@pytest.mark.slow  # each start of the command line imports torch anew
def test_five_kills_change_nothing(fake, tmp_path):
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    whole = start(tmp_path / "whole", environ)
    began = time.monotonic()
    _, err = whole.communicate(timeout=300)
    seconds = time.monotonic() - began
    assert whole.returncode == 0, err
    moments = random.Random(0)
    killed = 0
    for _ in range(5):
        process = start(tmp_path / "killed", environ)
        try:
            process.communicate(timeout=seconds * moments.uniform(0.3, 0.95))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
        assert list(Store(tmp_path / "killed").verify()) == []
    assert killed, "no run lived long enough to be killed"
    last = start(tmp_path / "killed", environ)
    _, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    assert list(Store(tmp_path / "killed").verify()) == []
    assert not list((tmp_path / "killed" / "v1" / "tmp").iterdir())
    pd.testing.assert_frame_equal(scores(tmp_path / "killed"), scores(tmp_path / "whole"))
