"""The checks that every method passes."""

from unlearnbench.testing import parametrize_with_checks

FAST = {"iterations": 2, "images": 2, "image_steps": 2, "learning_rate": 1e-3}


@parametrize_with_checks("fmn", params=FAST)
def test_conformance(check):
    check()


@parametrize_with_checks("fmn", params={**FAST, "inversion": True, "inversion_iterations": 2, "batch": 2})
def test_conformance_with_inversion(check):
    check()
