"""The conformance checks as a pytest parameter."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from unlearnbench.checks import Check, Subject, checks_for, run_check, subjects
from unlearnbench.checks.run import check_expected

if TYPE_CHECKING:
    from collections.abc import Mapping


def parametrize_with_checks(
    name: str, *, params: Mapping[str, Any] | None = None, expected_failures: Mapping[str, str] | None = None
) -> pytest.MarkDecorator:
    """Give a test function one call of `check` for each conformance check of a plugin.

        @parametrize_with_checks("nudge")
        def test_conformance(check):
            check()

    Args:
        name: 'name' or 'distribution/name' of an installed method, evaluator or data set, or a package folder.
        params: parameters that differ from the defaults, such as fewer steps.
        expected_failures: check -> reason; such a test is an xfail, and fails when the check passes.

    Raises:
        UserError: there is no such plugin, or `expected_failures` names a check that does not exist.
    """
    stack = ExitStack()
    atexit.register(stack.close)  # the tests run after this function has returned
    found = stack.enter_context(subjects(name, params))
    expected = expected_failures or {}
    check_expected([check for subject in found for check in checks_for(subject.kind)], expected)
    several = len(found) > 1
    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(
                partial(_call, check, subject),
                id=f"{subject.entry.spec.name}-{check.name}" if several else check.name,
                marks=[pytest.mark.xfail(reason=expected[check.name], strict=True)] if check.name in expected else [],
            )
            for subject in found
            for check in checks_for(subject.kind)
        ],
    )


def _call(check: Check, subject: Subject) -> None:
    """Run one check; what it finds becomes an outcome of pytest."""
    __tracebackhide__ = True
    result = run_check(check, subject)
    if result.status == "skipped":
        pytest.skip(result.reason)
    if result.status == "failed":
        pytest.fail(f"{result.reason}\n{result.details}".rstrip(), pytrace=False)
