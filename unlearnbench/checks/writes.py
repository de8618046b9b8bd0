"""Which files a piece of code writes: what python opens, makes, moves or removes, and what appears around it."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# event -> which of its arguments are paths that it changes
_CHANGES = {
    "os.mkdir": (0,), "os.rename": (0, 1), "os.remove": (0,), "os.rmdir": (0,), "os.link": (1,), "os.symlink": (1,),
    "os.truncate": (0,), "os.chmod": (0,),
}  # fmt: skip


class _Listener:
    """Receives the audit events of this process; python keeps it for ever, so it listens only when it is told to."""

    def __init__(self) -> None:
        self.seen: list[str] | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.seen is None:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = (flags or 0) & _WRITING if mode is None else any(letter in mode for letter in "wax+")
            if writes and isinstance(path, str | bytes | os.PathLike):
                self._note(path)
        elif event in _CHANGES:
            for number in _CHANGES[event]:
                if isinstance(arguments[number], str | bytes | os.PathLike):
                    self._note(arguments[number])

    def _note(self, path: str | bytes | os.PathLike[str]) -> None:
        if self.seen is not None:
            self.seen.append(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100  links are not followed


@cache
def _listener() -> _Listener:
    return _Listener()


@contextmanager
def watched(allowed: Path, around: Path) -> Iterator[list[str]]:
    """List what the block writes outside the folder `allowed`; the list is filled when the block ends.

    Compiled python files do not count, nor devices. Libraries that write by other means than python's are noticed if
    they write where the block starts, which is the folder `around`.

    Args:
        allowed: what may be written to.
        around: an empty folder, the working directory of the block.
    """
    found: list[str] = []
    listener = _listener()
    before = Path.cwd()
    os.chdir(around)
    listener.seen = []
    try:
        yield found
    finally:
        seen, listener.seen = listener.seen, None
        appeared = [str(path) for path in sorted(around.rglob("*"))]
        os.chdir(before)
        for text in dict.fromkeys([*seen, *appeared]):
            path = Path(text)
            if not path.is_relative_to(allowed) and "__pycache__" not in path.parts and path.parts[1:2] != ("dev",):
                found.append(str(path))
