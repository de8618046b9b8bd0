"""The checks that every method passes, and the one that a control fails by intention."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("random-edit")
def test_random_edit(check):
    check()


@parametrize_with_checks("non-word")
def test_non_word(check):
    check()


@parametrize_with_checks(
    "destroy", expected_failures={"check_several_concepts": "it destroys the same, whatever is to be forgotten"}
)
def test_destroy(check):
    check()


@parametrize_with_checks("keyword-filter")
def test_keyword_filter(check):
    check()


@parametrize_with_checks("negative-prompt")
def test_negative_prompt(check):
    check()
