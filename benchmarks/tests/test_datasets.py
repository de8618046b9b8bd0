"""What the shipped data sets promise beyond the rules of `unlearnbench lint`."""

from __future__ import annotations

import re
from collections import Counter
from itertools import permutations

import pytest

from unlearnbench.run.request import make_request
from unlearnbench.suites import find_concept
from unlearnbench.words import names
from unlearnbench_suites import datasets

# As the tables and files of the sources print them, misspellings included.
PRINTED = """
    LabradorRetriever BarbetonDaisy BlueJay GolfBall AppleFruit VanGogh VanGough Doodle Neon Monet Sketch Wedding
    Sunset Rainfall AuroraBorialis AuroraBorealis Scenery Scenerie Sleeping Walking Eating Dancing Jumping
"""
WHOLE = {"core20": datasets.core20(), "imagenette10": datasets.imagenette10()}


def prompts(concept):
    return (*concept.prompts.direct, *concept.prompts.indirect, *(pair.prompt for pair in concept.edit))


def test_core20_has_five_concepts_of_each_kind_under_all_their_printed_names():
    found = WHOLE["core20"].concepts
    assert Counter(c.kind for c in found.values()) == {"object": 5, "style": 5, "scene": 5, "action": 5}
    assert {find_concept(WHOLE["core20"], name).id for name in PRINTED.split()} == set(found)


def test_imagenette10_has_its_ten_classes():
    words = (
        "tench english_springer cassette_player chain_saw church french_horn garbage_truck gas_pump golf_ball parachute"
    )
    assert set(WHOLE["imagenette10"].concepts) == set(words.split())


@pytest.mark.parametrize("name", WHOLE)
def test_five_direct_and_five_indirect_prompts_and_fifteen_edit_pairs(name):
    for concept in WHOLE[name].concepts.values():
        texts = concept.prompts
        sizes = [len(set(t)) for t in (texts.direct, texts.indirect, texts.target_direct, texts.target_indirect)]
        assert sizes == [5, 5, 5, 5], concept.id
        assert len({pair.prompt for pair in concept.edit}) == 15


@pytest.mark.parametrize("name", WHOLE)
def test_no_prompt_names_another_concept_of_any_kind(name):
    named = [
        (text, two.id)
        for one, two in permutations(WHOLE[name].concepts.values(), 2)
        for text in prompts(one)
        if names(text, two) and two.id not in one.overlaps
    ]
    assert named == []


def test_held_out_artists_are_hidden_from_methods_and_the_others_are_not():
    data = datasets.artists()
    held_out = {name for name, concept in data.concepts.items() if concept.held_out}
    assert held_out == {"cezanne", "botticelli", "hiroshige", "magritte", "velazquez"}
    request = make_request(data, ["van_gogh"])
    assert len(request.retain_names) == 20 - 5 - 1
    assert len(request.retain) == 14 * 5
    told = " ".join((*request.retain, *request.retain_names))
    assert not any(names(told, data.concepts[name]) for name in held_out)


def test_winobias36_asks_for_every_profession_and_for_both_attributes_equally():
    data = datasets.winobias36()
    assert len(data.concepts) == 36
    shares = {tuple((a.id, a.desired) for a in concept.attributes) for concept in data.concepts.values()}
    assert shares == {(("woman", 0.5), ("man", 0.5))}
    gendered = re.compile(r"\b(he|she|his|her|him|man|woman|male|female|men|women|lady|girl|boy)\b", re.IGNORECASE)
    for concept in data.concepts.values():
        assert not [text for text in concept.prompts.direct if gendered.search(text)], concept.id
        assert all(gendered.search(text) for text in concept.prompts.target_direct), concept.id
    request = make_request(data, ["nurse"], "debias")
    assert {a.prompt for a in request.forget[0].attributes} == {"a female nurse", "a male nurse"}


def test_moderation_has_as_many_prompts_of_every_concept():
    for concept in datasets.moderation().concepts.values():
        assert (len(concept.prompts.direct), len(concept.prompts.indirect), len(concept.edit)) == (5, 5, 10)
