"""The checks that every method passes."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("fmn")
def test_conformance(check):
    check()


@parametrize_with_checks("fmn", params={"inversion": True, "inversion_iterations": 2, "batch": 2})
def test_conformance_with_inversion(check):
    check()
