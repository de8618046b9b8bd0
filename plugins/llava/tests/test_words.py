"""Questions, the tokens that say yes and no, and how text is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnbench.api import Question, Target
from unlearnbench.errors import UserError
from unlearnbench_llava.questions import texts
from unlearnbench_llava.replies import read, read_tail
from unlearnbench_llava.tokens import answer_tokens


def question(kind="object", **words):
    words = {"concept": "dog", "display": "dog", "description": "a dog", **words}
    return Question(kind=kind, target=Target(id="cat", display="cat"), classes={}, **words)


# ---------------------------------------------------------------- questions
def test_the_project_asks_every_kind_in_the_same_form():
    expected = ["Does this image show a dog? Answer with 'yes' or 'no'."]
    for kind in ("object", "style", "scene", "action"):
        assert texts("show", question(kind), opposite=False) == expected


@pytest.mark.parametrize(
    ("kind", "asked", "opposite"),
    [
        ("object", "Does this image show a dog?", "Does this image fail to show a dog?"),
        ("style", "Does this image look like a dog?", "Does this image fail to look like a dog?"),
        ("scene", "Does this image depict a dog?", "Does this image fail to depict a dog?"),
        ("action", "Is there a dog in this image?", "Is this image one without a dog?"),
    ],
)
def test_each_kind_has_a_form_and_its_opposite(kind, asked, opposite):
    assert texts("kind", question(kind), opposite=True) == [
        f"{text} Answer with 'yes' or 'no'." for text in (asked, opposite)
    ]


@pytest.mark.parametrize("place", ["description", "display", "concept"])
def test_a_question_of_the_users_own_is_asked_as_it_is(place):
    words = {"concept": "van_gogh", "display": "Van Gogh", "description": "a {strange} painting"}
    assert texts(f"See {{{place}}}?", question("style", **words), opposite=False) == [f"See {words[place]}?"]


# ---------------------------------------------------------------- tokens
def said(tokenizer, ids):
    return {tokenizer.decode([i]).strip() for i in ids}


def byte_level(corpus, entries):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=entries, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core)


def test_all_surface_forms_that_are_single_tokens_count():
    coder = byte_level([" yes no Yes No YES NO", "yes", "no", "Yes", "No"] * 50, 300)
    yes, no = answer_tokens(coder)
    assert said(coder, yes) == {"yes", "Yes", "YES"}
    assert said(coder, no) == {"no", "No", "NO"}
    assert {coder.convert_ids_to_tokens(i) for i in yes} == {
        space + word for space in ("", "Ġ") for word in ("yes", "Yes", "YES")
    }


def test_a_space_that_is_a_token_of_its_own_is_skipped():
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>"], show_progress=False)
    core.train_from_iterator(["Yes", "No", "yes", "no"] * 50, trainer)
    coder = PreTrainedTokenizerFast(tokenizer_object=core)
    assert coder.convert_ids_to_tokens(coder.encode(" Yes")) == ["▁", "▁Yes"]
    yes, no = answer_tokens(coder)
    assert (said(coder, yes), said(coder, no)) == ({"Yes", "yes"}, {"No", "no"})


def test_first_tokens_stand_for_words_that_are_no_single_token():
    coder = byte_level(["a"], 256)
    yes, no = answer_tokens(coder)
    assert (said(coder, yes), said(coder, no)) == ({"y", "Y"}, {"n", "N"})


def test_a_tokenizer_without_the_words_is_refused():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({"<unk>": 0, "yes": 1}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(UserError, match="says no") as caught:
        answer_tokens(PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>"))
    assert "llava.parser=text" in caught.value.hint


# ---------------------------------------------------------------- replies
@pytest.mark.parametrize(
    ("reply", "says", "tail"),
    [
        ("Yes", True, True),
        ("yes.", True, True),
        (" No, there is none", False, False),
        ("Yes, there is", True, False),
        ("No, but yes elsewhere", False, False),
        ("The answer is yes", True, True),
        ("It is a no.", False, False),
        ("either yes or no", None, False),
        ("nothing", None, False),
        ("yesterday", None, False),
        ("Not eyes", None, True),
        ("", None, None),
        ("  ", None, None),
    ],
)
def test_replies_are_read(reply, says, tail):
    assert read(reply) is says
    assert read_tail(reply) is tail


@given(st.text(max_size=40))
def test_a_leading_word_decides_whatever_follows(rest):
    assert read(f"Yes {rest}") is True
    assert read(f"no, {rest}") is False
