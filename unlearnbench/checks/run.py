"""Run checks: each alone, what it raises becomes its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnbench.checks.outcome import Failed, Report, Result, Skipped, Status
from unlearnbench.checks.subject import Subject, trace
from unlearnbench.errors import UserError
from unlearnbench.plugins import unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

Function = Callable[[Subject], None]


@dataclass(frozen=True)
class Check:
    """One property that a plugin must have.

    Attributes:
        function: raises `Failed` or `Skipped`; anything else that it raises is a failure too.
        needs: checks without which this one says nothing: it is skipped when one of them fails.
    """

    function: Function
    needs: tuple[Function, ...] = ()

    @property
    def name(self) -> str:
        """Return 'check_<property>'."""
        return str(self.function.__name__)

    @property
    def question(self) -> str:
        """Return what the check asks, one sentence."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


def run_check(check: Check, subject: Subject, expected: str | None = None) -> Result:
    """Run one check.

    Args:
        check: the check.
        subject: what is checked.
        expected: why the check is expected to fail; None = it is not.
    """
    start = time.perf_counter()
    status: Status = "passed"
    reason = details = ""
    try:
        for needed in check.needs:
            if (why := _why_not(needed, subject)) is not None:
                raise Skipped(why)
        check.function(subject)
    except KeyboardInterrupt:
        raise
    except Skipped as skip:
        status, reason = "skipped", str(skip)
    except BaseException as error:  # noqa: BLE001  a plugin may raise anything
        status, reason, details = "failed", _sentence(error), trace(error)
    if expected is not None:
        if status == "failed":
            status, reason = "xfail", f"{expected} ({reason})"
        elif status == "passed":
            status, reason = "xpass", f"passes, though a failure was expected: {expected}"
    return Result(check.name, status, reason, time.perf_counter() - start, details)


def run_checks(
    checks: Sequence[Check],
    subject: Subject,
    expected: Mapping[str, str] | None = None,
    on_result: Callable[[Result], None] = lambda _: None,
) -> Report:
    """Run checks in order.

    Args:
        checks: those of the subject's kind.
        subject: what is checked.
        expected: check -> why it is expected to fail; a check that passes nevertheless is not ok.
        on_result: told about every result as it comes.

    Raises:
        UserError: `expected` names a check that does not exist.
    """
    expected = expected or {}
    check_expected(checks, expected)
    results = []
    for check in checks:
        results.append(run_check(check, subject, expected.get(check.name)))
        on_result(results[-1])
    plugin = subject.entry.plugin
    return Report(
        kind=subject.kind,
        name=subject.entry.spec.name,
        distribution=plugin.distribution,
        version=plugin.version,
        file=plugin.file or plugin.module,
        params=dict(subject.given),
        results=tuple(results),
    )


def check_expected(checks: Sequence[Check], expected: Mapping[str, str]) -> None:
    """Refuse expected failures of checks that do not exist.

    Raises:
        UserError: with the nearest name that exists.
    """
    names = [check.name for check in checks]
    for name in expected:
        if name not in names:
            raise unknown("check", name, names)


def _why_not(needed: Function, subject: Subject) -> str | None:
    """Return why what needs a check must be skipped; None if that check passes."""

    def outcome() -> str | None:
        try:
            needed(subject)
        except KeyboardInterrupt:
            raise
        except Skipped as skip:
            return str(skip)
        except BaseException:  # noqa: BLE001  its own result tells what it is
            return f"{needed.__name__} fails"
        return None

    return subject.remember(("outcome", needed.__name__), outcome)


def _sentence(error: BaseException) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, Failed):
        return " ".join(str(error).split())
    if isinstance(error, UserError):
        return f"{error.what}; {error.hint}"
    lines = str(error).splitlines() or [""]
    return f"raised {type(error).__name__}: {' '.join(lines[0].split())}".rstrip(": ")
