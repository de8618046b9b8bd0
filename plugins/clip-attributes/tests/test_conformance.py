"""The checks that every evaluator passes."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("clip-attributes")
def test_conformance(check):
    check()
