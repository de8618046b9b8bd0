"""The checks that every method passes."""

from unlearnbench.testing import parametrize_with_checks

FAST = {"iterations": 2, "accumulation": 2, "learning_rate": 1e-3}


@parametrize_with_checks("siss", params=FAST)
def test_conformance_of_siss(check):
    check()


@parametrize_with_checks("neggrad", params=FAST)
def test_conformance_of_neggrad(check):
    check()


@parametrize_with_checks("erasediff", params=FAST)
def test_conformance_of_erasediff(check):
    check()


@parametrize_with_checks("naive-deletion", params=FAST)
def test_conformance_of_naive_deletion(check):
    check()
