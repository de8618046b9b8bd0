"""How checks end: the two exceptions that they raise, results, and the report of one subject."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["method", "evaluator", "set_evaluator", "dataset"]
Status = Literal["passed", "failed", "xfail", "xpass", "skipped"]


class Failed(Exception):  # noqa: N818  an outcome, not an error
    """The subject does not have the property; the message says what was found, and what to do."""


class Skipped(Exception):  # noqa: N818  an outcome, not an error
    """The property cannot be looked at; the message is the reason."""


def demand(condition: object, reason: str) -> None:
    """Raise `Failed(reason)` unless the condition holds."""
    if not condition:
        raise Failed(reason)


@dataclass(frozen=True)
class Result:
    """How one check went.

    Attributes:
        name: of the check, 'check_<property>'.
        status: 'xfail' failed and 'xpass' passed where a failure was expected.
        reason: why it failed or was skipped; for an expected failure the caller's reason.
        seconds: wall time, the edits and scores that it was the first to need included.
        details: traceback of what the plugin raised; '' if it raised nothing.
    """

    name: str
    status: Status
    reason: str = ""
    seconds: float = 0.0
    details: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether the check is as it should be: an unexpected pass is not."""
        return self.status not in ("failed", "xpass")


@dataclass(frozen=True)
class Report:
    """All results of one subject."""

    kind: Kind
    name: str
    distribution: str
    version: str
    file: str
    params: dict[str, Any] = field(default_factory=dict)
    results: tuple[Result, ...] = ()

    @property
    def ok(self) -> bool:
        """Tell whether the subject conforms: something was checked, and nothing went otherwise than expected."""
        return all(r.ok for r in self.results) and any(r.status != "skipped" for r in self.results)

    @property
    def seconds(self) -> float:
        """Return how long all checks took together."""
        return sum(r.seconds for r in self.results)

    def counts(self) -> dict[Status, int]:
        """Return how many checks ended in each way, ways that did not occur left out."""
        found = Counter(r.status for r in self.results)
        order: tuple[Status, ...] = ("failed", "xpass", "passed", "xfail", "skipped")
        return {status: found[status] for status in order if found[status]}
