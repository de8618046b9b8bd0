"""Conformance checks: whether a method, an evaluator or a data set keeps its promises to the harness.

The same plain functions run from the command line (`unlearnbench check`) and under pytest
(`unlearnbench.testing.parametrize_with_checks`). Importing this package loads no torch.
"""

from unlearnbench.checks.outcome import Failed, Report, Result, Skipped
from unlearnbench.checks.registry import checks_for
from unlearnbench.checks.run import Check, run_check, run_checks
from unlearnbench.checks.subject import Subject, subjects

__all__ = [
    "Check", "Failed", "Report", "Result", "Skipped", "Subject", "checks_for", "run_check", "run_checks", "subjects",
]  # fmt: skip
