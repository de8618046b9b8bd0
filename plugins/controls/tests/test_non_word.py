"""The other method never hears of the concept, and what it does to real prompts is little."""

import re

import pytest
import torch

from unlearnbench.api import EditPair
from unlearnbench.plugins import load_plugins
from unlearnbench.run.request import make_request
from unlearnbench.testing import try_edit
from unlearnbench_controls.non_word import NonWord, renamed, without_concepts
from unlearnbench_controls.params import NonWordParams
from unlearnbench_uce.method import UCE
from unlearnbench_uce.params import UCEParams


def test_the_word_takes_the_concepts_place_and_all_else_stays(request_):
    asked = without_concepts(request_, "flombrix")
    (concept,) = asked.forget
    assert (concept.id, concept.name, concept.aliases, concept.target) == ("flombrix", "flombrix", (), "dog")
    assert concept.pairs == (
        EditPair(prompt="a photo of a flombrix", target="a photo of a dog"),
        EditPair(prompt="two flombrix in the rain", target="two puppies in the rain"),
        EditPair(prompt="a pet that flombrix on the sofa", target="a pet that barks on the sofa"),
    )
    assert asked.model_copy(update={"forget": request_.forget}) == request_


def test_every_concept_gets_a_word_of_its_own(both):
    many = both.model_copy(update={"forget": both.forget * 30})
    words = [concept.name for concept in without_concepts(many, "flombrix").forget]
    assert words[:3] == ["flombrix", "flombrixb", "flombrixc"]
    assert len(set(words)) == 60


@pytest.mark.parametrize(
    ("prompt", "target", "expected"),
    [
        ("a cat", "a dog", "a X"),
        ("Cats, a cat's toy and a concatenation", "dogs", "X, a X's toy and a concatenation"),
        ("the big cat cat", "the dog", "the X X"),  # the longest name first
        ("it purrs", "it barks", "it X"),
        ("purrs", "barks loudly", "X"),
        ("it purrs", "it purrs", "it purrs X"),
        ("a a b", "a b", "a X b"),
        ("it", "it barks", "it X"),
    ],
)
def test_where_the_concept_is_in_a_prompt(prompt, target, expected):
    assert renamed(prompt, target, ("cat", "big cat"), "X") == expected


@pytest.mark.parametrize("dataset", ["emojiworld", "core20", "imagenette10", "artists", "moderation"])
def test_no_name_of_the_concept_is_left_in_any_data_set(dataset):
    data = load_plugins().datasets.get(dataset).load()()
    for own in data.concepts.values():
        if own.held_out:
            continue
        (concept,) = without_concepts(make_request(data, [own.id]), "flombrix").forget
        for pair in concept.pairs:
            assert "flombrix" in pair.prompt
            for name in (own.display, *own.aliases):
                assert not re.search(rf"(?<!\w){re.escape(name)}s?(?!\w)", pair.prompt, re.IGNORECASE)


def test_the_edit_is_the_other_methods_for_that_word(model, request_):
    settings = {"edit_with": "pairs", "lamb": 0.2}
    own, _ = try_edit(NonWord(NonWordParams(like_params=settings)), model, request_)
    asked = without_concepts(request_, "flombrix")
    expected, _ = try_edit(UCE(UCEParams(**settings)), model, asked)
    assert own.keys() == expected.keys()
    assert all(torch.equal(own[name], expected[name]) for name in own)


def test_keys_and_values_of_the_concept_move_less_than_when_it_is_erased(model, request_):
    """The oracle is the change of the concept's own keys and values, in the layers themselves."""

    def moved(changed):
        states = model.encode(["cat"])
        last = states.states[0, states.last[0]].double()
        base = model.tensors()
        return sum(float(((value.double() - base[name].double()) @ last).norm()) for name, value in changed.items())

    erased = moved(try_edit(UCE(UCEParams()), model, request_)[0])
    control = moved(try_edit(NonWord(NonWordParams()), model, request_)[0])
    assert 0 < control < 0.5 * erased
