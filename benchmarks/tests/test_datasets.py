"""What the shipped data sets promise beyond the rules of `unlearnbench lint`."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest

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
