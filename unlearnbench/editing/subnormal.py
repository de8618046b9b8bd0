"""Optimisation that subnormal numbers do not slow down."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Worker:
    """Calls functions one by one in a thread of its own."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread

    def run(self, function: Callable[[], T]) -> T:
        """Call a function, wait for it, and return or raise what it does."""
        return self._thread.submit(function).result()


@contextmanager
def without_subnormals() -> Iterator[Worker]:
    """Lend a thread that treats subnormal numbers as zero; a CPU is many times slower on them.

    The mode belongs to a thread, and the worker threads of torch take it over from the thread that starts them. Workers
    that run already would not, so setting it for the calling thread would reach only its own share of the work. The
    caller's mode and workers stay as they are.
    """
    with ThreadPoolExecutor(max_workers=1, initializer=torch.set_flush_denormal, initargs=(True,)) as thread:
        yield Worker(thread)
