"""Errors that are shown to a user, and the exit codes of the command line."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every `unlearnbench` command."""

    OK = 0
    FAILED = 1  # some task failed, all were skipped, or an edit is not ok
    USAGE = 2  # the input is wrong
    PREREQUISITE = 3  # a file, a package or a device is missing
    CONFORMANCE = 4  # a plugin does not conform, or a data set breaks a rule
    INTERRUPTED = 130


class UserError(Exception):
    """A mistake that the user can mend: one line on what is wrong, one on what to type.

    Args:
        what: what is wrong, one sentence without a line break.
        hint: what to do or type next.
    """

    exit_code: ExitCode = ExitCode.USAGE

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = " ".join(what.split())
        self.hint = " ".join(hint.split())

    def __str__(self) -> str:
        return f"{self.what}\n{self.hint}"


class PrerequisiteError(UserError):
    """Something that the command needs is not on this machine (weights, package, device, disk)."""

    exit_code = ExitCode.PREREQUISITE
