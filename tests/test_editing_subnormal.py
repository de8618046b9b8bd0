"""Subnormal numbers are zero in a lent thread, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from unlearnbench.editing.subnormal import without_subnormals


def flushed(threads):
    """Return which share of subnormal numbers is flushed to zero by all threads of torch together."""
    assert torch.get_num_threads() == threads
    halves = torch.full((400_000,), 1e-39) * 0.5
    return float((halves.view(torch.int32) == 0).double().mean())


@pytest.mark.parametrize("mode", [0.0, 1.0])
def test_subnormal_numbers_are_flushed_by_all_threads_and_only_meanwhile(mode):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.set_flush_denormal(bool(mode))
    try:
        torch.ones(400_000).mul(2)  # starts the workers before the mode is set
        before = flushed(2)
        with without_subnormals() as worker:
            assert worker.run(lambda: flushed(2)) == 1.0
        assert flushed(2) == before <= mode
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def test_errors_leave_the_thread():
    with without_subnormals() as worker, pytest.raises(ZeroDivisionError):
        worker.run(lambda: 1 / 0)
