"""The checks that every method passes."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("ca")
def test_conformance(check):
    check()
