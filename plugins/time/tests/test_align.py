"""The alignment rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnbench_time.align import align, replacement, subsequence
from unlearnbench_time.prompts import inserts_only

POSITIONS = 20


def numbered(*prompts):
    """Give every word a number; BOS and EOS stand around each prompt."""
    words = {}
    return [[words.setdefault(w, len(words)) for w in ("<s>", *prompt.split(), "</s>")] for prompt in prompts]


def aligned(source, destination, rule="replacement"):
    return align(*numbered(source, destination), POSITIONS, rule)


@pytest.mark.parametrize("rule", ["replacement", "subsequence"])
def test_t_ti_1_the_paper_s_example(rule):
    assert aligned("a pack of roses", "a pack of blue roses", rule) == [0, 1, 2, 3, *range(5, 20), 19]


def test_t_ti_1_words_can_be_inserted_in_several_places():
    found = aligned("pack of roses", "big pack of very red roses in rain", "subsequence")
    assert found == [0, 2, 3, 6, 9, *range(10, 20), 19, 19, 19, 19, 19]
    assert len(found) == POSITIONS


def test_equal_prompts_are_mapped_onto_themselves():
    assert aligned("a red cat", "a red cat", "subsequence") == list(range(POSITIONS))


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        ("cat", "dog", [0, 1, 2]),
        ("a photo of a cat", "a photo of a dog", [0, 1, 2, 3, 4, 5, 6]),
        ("tom cat", "dog", [0, 1, 1, 2]),
        ("the old tom cat sleeps", "the dog sleeps", [0, 1, 2, 2, 2, 3, 4]),
        ("cat sleeps", "very big dog sleeps", [0, 3, 4, 5]),
        ("cat", "", [0, 0, 1]),
        ("a red cat", "a red", [0, 1, 2, 2, 3]),
        ("cat", "dog cat", [0, 2, 3]),
        ("dog cat", "cat", [0, 0, 1, 2]),
        ("cat cat", "cat", [0, 1, 1, 2]),
    ],
)
def test_replaced_phrases_are_aligned_from_their_last_token(source, destination, expected):
    assert aligned(source, destination)[: len(expected)] == expected


def test_the_paper_s_rule_refuses_replaced_words():
    with pytest.raises(ValueError, match="subsequence"):
        aligned("cat", "dog", "subsequence")


prompts = st.lists(st.integers(1, 4), max_size=8).map(lambda ids: [0, *ids, 9])


@given(prompts, prompts)
def test_every_position_is_mapped_and_bos_and_eos_stay(source, destination):
    found = align(source, destination, POSITIONS, "replacement")
    assert len(found) == POSITIONS
    assert all(0 <= place < POSITIONS for place in found)
    assert found[0] == 0
    assert found[len(source) - 1] == len(destination) - 1
    assert found == sorted(found)


@given(prompts, st.lists(st.tuples(st.integers(0, 8), st.integers(1, 4)), max_size=5))
def test_insertions_are_aligned_with_equal_tokens_by_both_rules(source, inserted):
    destination = list(source)
    for place, token in inserted:
        destination.insert(1 + place % (len(destination) - 1), token)
    found = align(source, destination, POSITIONS, "subsequence")
    assert found == align(source, destination, POSITIONS, "replacement")
    assert [destination[i] for i in found[: len(source)]] == source
    assert len(set(found[: len(source)])) == len(source)


@given(prompts, prompts)
def test_a_replacement_keeps_what_both_begin_and_end_with(source, destination):
    found = replacement(source, destination)
    assert len(found) == len(source)
    same = [source[i] == destination[i] for i in range(min(len(source), len(destination)))]
    head = same.index(False) if False in same else len(same)
    assert found[:head] == list(range(head))


@pytest.mark.parametrize(
    ("source", "destination", "possible"),
    [
        ("roses", "blue roses", True),
        ("An apple", "a red apple", True),
        ("cat", "dog", False),
        ("a cat, asleep", "a white cat, asleep", True),
        ("cat", "", False),
    ],
)
def test_words_tell_what_the_paper_s_rule_can_align(source, destination, possible):
    assert inserts_only(source, destination) is possible


def test_a_subsequence_is_found_from_the_left():
    assert subsequence("ab", "xaabb") == [1, 3]
    assert subsequence("ba", "ab") is None
    assert subsequence("", "ab") == []
