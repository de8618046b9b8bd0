"""The checks that every method passes."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks(
    "ca", params={"iterations": 2, "batch": 2, "images": 2, "image_steps": 2, "learning_rate": 1e-3}
)
def test_conformance(check):
    check()
