"""Whether the evaluator `clip` keeps its promises to the harness."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("clip")
def test_conformance(check):
    check()
