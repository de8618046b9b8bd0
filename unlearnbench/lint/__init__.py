"""What makes a number on a board mean what its column says: rules for concepts, prompts and suites."""

from unlearnbench.lint.finding import Finding, Report
from unlearnbench.lint.rules import RULES, lint_added, lint_dataset
from unlearnbench.lint.suite import SUITE_RULES, lint_suite
from unlearnbench.lint.tokens import Tokens, estimated, tokens_of

__all__ = [
    "RULES",
    "SUITE_RULES",
    "Finding",
    "Report",
    "Tokens",
    "estimated",
    "lint_added",
    "lint_dataset",
    "lint_suite",
    "tokens_of",
]
