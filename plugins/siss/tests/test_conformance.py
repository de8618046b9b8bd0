"""The checks that every method passes."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("siss")
def test_conformance_of_siss(check):
    check()


@parametrize_with_checks("neggrad")
def test_conformance_of_neggrad(check):
    check()


@parametrize_with_checks("erasediff")
def test_conformance_of_erasediff(check):
    check()


@parametrize_with_checks("naive-deletion")
def test_conformance_of_naive_deletion(check):
    check()
