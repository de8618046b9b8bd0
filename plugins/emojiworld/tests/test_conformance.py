"""Whether the data set `emojiworld` keeps its promises to the harness."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("emojiworld")
def test_conformance(check):
    check()
