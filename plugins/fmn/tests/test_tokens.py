"""Where prompts name the concept, and prompts with other tokens in its place."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearnbench.api import EditPair, ForgetConcept
from unlearnbench.errors import UserError
from unlearnbench.testing import tiny_model
from unlearnbench_fmn.tokens import Tokens, encoded, places, prompts_of, renamed, starts, tokenized

CAT = ForgetConcept(
    id="cat",
    kind="object",
    name="cat",
    target="dog",
    pairs=tuple(
        EditPair(prompt=text, target="a dog")
        for text in ("a cat and a Cat", "a kitten", "the cat", "a concatenation", "the cat")
    ),
)


@pytest.fixture(scope="module", params=[1, 2])
def model(request):
    return tiny_model(version=request.param)


def chosen(model, concept, eos="none", edit_with="template"):
    return [row.nonzero()[:, 0].tolist() for row in places(tokenized(model, concept, edit_with), eos)]


def named(name, kind="object", **more):
    return ForgetConcept(id="x", kind=kind, name=name, target="", **more)


# ---------------------------------------------------------------- the tests of the specification
def test_t_fmn_1_the_positions_of_a_prompt_are_those_of_the_name_and_of_the_first_eos(model):
    # BOS a photo of cat EOS, whatever pads behind it
    assert chosen(model, CAT) == [[4]]
    assert chosen(model, CAT, "first") == [[4, 5]]
    assert chosen(model, named("Red Dog", "style"), "first") == [[7, 8, 9]]


def test_t_fmn_1_all_eos_positions_are_the_padding_of_version_1_and_one_position_of_version_2():
    one, two = tiny_model(version=1), tiny_model(version=2)
    assert chosen(one, CAT, "all") == [list(range(4, 40))]
    assert chosen(two, CAT, "all") == [[4, 5]]


def test_t_fmn_1_a_name_of_several_tokens_takes_them_all(model):
    (row,) = model.tokenizer(["zebra"], add_special_tokens=False)["input_ids"]
    assert len(row) == 5  # the word is spelt
    assert chosen(model, named("zebra"), "first") == [[4, 5, 6, 7, 8, 9]]


# ---------------------------------------------------------------- positions
WORDS = ("a", "red", "dog", "cat", "photo", "in", "the", "sky")  # each is one token
MODEL = tiny_model()


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=20), st.sampled_from(["cat", "red dog", "a"]))
def test_every_occurrence_of_the_name_is_found(words, name):
    row, mask, _ = MODEL.tokenize([" ".join(words)])
    ids = MODEL.tokenizer([name], add_special_tokens=False)["input_ids"][0]
    found = places(Tokens(row, mask, ids), "none")[0].nonzero()[:, 0].tolist()
    parts = name.split()
    at = [i for i in range(len(words)) if words[i : i + len(parts)] == parts]
    assert found == [1 + i + j for i in at for j in range(len(parts))]


def test_occurrences_do_not_overlap():
    assert starts([5, 5, 5, 5, 5], [5, 5]) == [0, 2]
    assert starts([1, 2, 1, 2, 1], [1, 2, 1]) == [0]
    assert starts([1], [1, 2]) == []


def test_edit_prompts_are_those_that_hold_the_name_as_a_word(model):
    assert prompts_of(CAT, "pairs") == ["a cat and a Cat", "the cat"]
    assert chosen(model, CAT, "first", "pairs") == [[2, 5, 6], [2, 3]]
    assert prompts_of(named("cat"), "pairs") == []


def test_a_style_has_a_prompt_of_its_own():
    assert prompts_of(named("van gogh", "style"), "template") == ["a photo in the style of van gogh"]
    for kind in ("object", "scene", "action"):
        assert prompts_of(named("dancing", kind), "template") == ["a photo of dancing"]


def test_prompts_that_are_cut_inside_the_name_are_left_out(model):
    room = model.info.text_positions - 2
    fits, cut = ("a " * n + "red dog" for n in (room - 2, room - 1))
    pairs = tuple(EditPair(prompt=text, target="x") for text in (fits, cut))
    assert chosen(model, named("red dog", pairs=pairs), "first", "pairs") == [[room - 1, room, room + 1]]


def test_a_name_that_never_fits_is_refused(model):
    with pytest.raises(UserError, match="too long"):
        tokenized(model, named("zebra" * 20), "template")


# ---------------------------------------------------------------- other tokens
def test_other_tokens_take_the_place_of_the_name(model):
    old = tokenized(model, CAT, "pairs")
    new = renamed(old, [900, 901, 902], model.tokenizer.pad_token_id)
    a, the, *_ = (row[1] for row in old.ids.tolist())
    bos, eos = int(old.ids[0, 0]), int(old.ids[1, 3])
    and_ = int(old.ids[0, 3])
    pad = model.tokenizer.pad_token_id
    rows = [[bos, a, 900, 901, 902, and_, a, 900, 901, 902, eos], [bos, the, 900, 901, 902, eos]]
    assert new.ids.tolist() == [row + [pad] * (40 - len(row)) for row in rows]
    assert new.mask.sum(1).tolist() == [11, 6]
    assert places(new, "first")[1].nonzero()[:, 0].tolist() == [2, 3, 4, 5]


def test_what_no_longer_fits_before_eos_is_cut(model):
    old = tokenized(model, CAT, "template")
    new = renamed(old, range(900, 950), 0)
    assert new.ids.shape == old.ids.shape
    assert new.ids[0, 4:39].tolist() == list(range(900, 935))
    assert new.ids[0, 39] == old.ids[0, 5]
    assert bool(new.mask.all())


def test_the_same_tokens_in_the_name_s_place_change_nothing(model):
    old = tokenized(model, CAT, "pairs")
    new = renamed(old, old.name, model.tokenizer.pad_token_id)
    assert torch.equal(new.ids, old.ids)
    assert torch.equal(new.mask, old.mask)


def test_a_further_token_with_the_embedding_of_a_word_means_that_word(model):
    table = model.text_encoder.get_input_embeddings().weight
    before = table.clone()
    old = tokenized(model, CAT, "template")
    new = renamed(old, [len(table)], model.tokenizer.pad_token_id)
    with torch.no_grad():
        states = encoded(model, new.ids, table[list(old.name)])
    torch.testing.assert_close(states, model.encode(["a photo of cat"]).states)
    assert torch.equal(model.text_encoder.get_input_embeddings().weight, before)
