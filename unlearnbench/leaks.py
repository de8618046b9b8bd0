"""What a piece of code must leave as it found it, looked at before and after, named, and put back.

Light: torch and numpy are looked at only where they are imported already.
"""

from __future__ import annotations

import logging
import os
import random
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Group = Literal["random", "torch", "process"]
# pytest writes the name of the running test there
_OF_PYTEST = "PYTEST_CURRENT_TEST"


@dataclass(frozen=True)
class Leak:
    """One thing that was left changed: which kind of state, and what happened to it."""

    group: Group
    what: str

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class _Probe:
    """One piece of global state: how it is read, put back, and described when it changed."""

    group: Group
    read: Callable[[], Any]
    restore: Callable[[Any], None]
    describe: Callable[[Any, Any], list[str]]


class Snapshot:
    """The global state at one moment."""

    def __init__(self) -> None:
        self._probes = _probes()
        self._before = [probe.read() for probe in self._probes]

    def restore(self) -> list[Leak]:
        """Put everything back and return what had changed."""
        found: list[Leak] = []
        for probe, old in zip(self._probes, self._before, strict=True):
            described = probe.describe(old, probe.read())
            found += [Leak(probe.group, what) for what in described]
            if described:
                probe.restore(old)
        return found


@contextmanager
def contained() -> Iterator[list[Leak]]:
    """Look for leaks of the block; the list is filled, and the state put back, when the block ends."""
    snapshot = Snapshot()
    found: list[Leak] = []
    try:
        yield found
    finally:
        found += snapshot.restore()


def _probes() -> list[_Probe]:
    return [*_process_probes(), *_random_probes(), *(_torch_probes() if "torch" in sys.modules else ())]


# ---------------------------------------------------------------- the process
def _process_probes() -> Iterator[_Probe]:
    yield _Probe("process", _environment, _set_environment, _environment_changes)
    yield _Probe("process", Path.cwd, os.chdir, lambda old, new: _changed("the working directory", old, new))
    yield _Probe("process", _loggers, _set_loggers, _logger_changes)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != _OF_PYTEST}


def _set_environment(old: Mapping[str, str]) -> None:
    for name in _environment().keys() - old.keys():
        del os.environ[name]
    os.environ.update(old)


def _environment_changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    words = {(False, True): "set", (True, False): "unset", (True, True): "changed"}
    return [
        f"the environment variable {name} was {words[name in old, name in new]}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _all_loggers() -> dict[str, logging.Logger]:
    known = logging.root.manager.loggerDict
    return {"root": logging.root, **{n: x for n, x in list(known.items()) if isinstance(x, logging.Logger)}}


def _loggers() -> dict[str, tuple[int, bool, bool, tuple[logging.Handler, ...]]]:
    return {n: (x.level, x.disabled, x.propagate, tuple(x.handlers)) for n, x in _all_loggers().items()}


def _set_loggers(old: Mapping[str, tuple[int, bool, bool, tuple[logging.Handler, ...]]]) -> None:
    for name, logger in _all_loggers().items():
        if name in old:
            level, logger.disabled, logger.propagate, handlers = old[name]
            logger.setLevel(level)
            logger.handlers[:] = handlers


def _logger_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Describe changes of the loggers that existed; a logger that a library adds on import is none."""
    aspects = ("level", "disabled flag", "propagate flag", "handlers")
    return [
        f"the {aspect} of the logger '{name}' changed"
        for name in sorted(old.keys() & new.keys())
        for aspect, before, after in zip(aspects, old[name], new[name], strict=True)
        if before != after
    ]


# ---------------------------------------------------------------- random state
def _random_probes() -> Iterator[_Probe]:
    yield _Probe("random", random.getstate, random.setstate, lambda old, new: _moved("python's", old == new))
    if "numpy" in sys.modules:
        from numpy import random as numpy_random

        def get() -> tuple[Any, ...]:
            state: Any = numpy_random.get_state(legacy=False)  # noqa: NPY002  the global state is what is watched
            return (state["state"]["key"].tobytes(), state)

        def put(old: tuple[Any, ...]) -> None:
            numpy_random.set_state(old[1])  # noqa: NPY002  as above

        yield _Probe("random", get, put, lambda old, new: _moved("numpy's", repr(old) == repr(new)))
    if "torch" in sys.modules:
        import torch

        yield _Probe(
            "random",
            torch.get_rng_state,
            torch.set_rng_state,
            lambda old, new: _moved("torch's", torch.equal(old, new)),
        )
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            yield _Probe(
                "random",
                torch.cuda.get_rng_state_all,
                torch.cuda.set_rng_state_all,
                lambda old, new: _moved("CUDA's", all(map(torch.equal, old, new))),
            )


def _moved(whose: str, same: bool) -> list[str]:
    return [] if same else [f"{whose} global random state changed"]


# ---------------------------------------------------------------- torch
def _torch_probes() -> Iterator[_Probe]:
    import torch

    def settings(name: str, read: Callable[[], Any], restore: Callable[[Any], Any]) -> _Probe:
        return _Probe("torch", read, restore, lambda old, new: _changed(f"torch's {name}", old, new))

    yield settings("grad mode", torch.is_grad_enabled, torch.set_grad_enabled)
    yield settings("default dtype", torch.get_default_dtype, torch.set_default_dtype)
    yield settings("default device", torch.get_default_device, _set_device)
    yield settings("number of threads", torch.get_num_threads, torch.set_num_threads)
    yield settings(
        "use of deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    )
    yield settings("matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision)
    yield settings(
        "treatment of subnormal numbers as zero",
        lambda: float(torch.tensor([1e-40], dtype=torch.float32, device="cpu") * 1.0) == 0.0,
        torch.set_flush_denormal,
    )


def _set_device(old: Any) -> None:
    import torch

    torch.set_default_device(None if old == torch.device("cpu") else old)


def _changed(what: str, old: Any, new: Any) -> list[str]:
    return [] if old == new else [f"{what} changed from {old} to {new}"]
