"""Whether the set evaluator `drift` keeps its promises to the harness."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("drift")
def test_conformance(check):
    check()
