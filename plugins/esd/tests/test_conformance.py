"""The checks that every method passes."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("esd", params={"iterations": 2, "sampling_steps": 2, "learning_rate": 1e-3})
def test_conformance(check):
    check()
