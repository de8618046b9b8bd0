"""Whether the method `uce` keeps its promises to the harness."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("uce")
def test_conformance(check):
    check()
