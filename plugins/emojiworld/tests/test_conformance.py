"""Whether the data sets of EmojiWorld keep their promises to the harness."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("emojiworld")
def test_conformance(check):
    check()


@parametrize_with_checks("emojiworld-dev")
def test_development_conformance(check):
    check()


@parametrize_with_checks("emojiworld-debias")
def test_debias_conformance(check):
    check()


@parametrize_with_checks("emojiworld-moderate")
def test_moderate_conformance(check):
    check()


@parametrize_with_checks("emojiworld-data")
def test_data_conformance(check):
    check()
