"""Whether the method `alphaedit` keeps its promises to the harness."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("alphaedit")
def test_conformance(check):
    check()
