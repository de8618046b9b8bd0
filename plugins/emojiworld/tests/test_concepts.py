from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

import unlearnbench_emojiworld
from unlearnbench.api import Concept
from unlearnbench_emojiworld.captions import every_caption
from unlearnbench_emojiworld.dataset import Development, EmojiWorld
from unlearnbench_emojiworld.vocabulary import Vocabulary

FOLDER = Path(unlearnbench_emojiworld.__file__).parent / "concepts"
INDEX = sorted(path.stem for path in FOLDER.glob("*.yaml"))
VOCABULARY = Vocabulary.load()
LONGEST = 28
NEAR = 0.8
# Words that frame a description; they carry no meaning of a subject or a style.
FRAME_TEXT = """
a an the of in on at to and or with without who that which is are it its there here this these we can see look one
for from by as into over under behind between before after above along around across again up down through
small simple nice picture image icon shows red orange yellow green blue purple pink white background
"""
FRAME = set(FRAME_TEXT.split())


def load(concept: str) -> Concept:
    return Concept.model_validate(yaml.safe_load((FOLDER / f"{concept}.yaml").read_text(encoding="utf-8")))


CONCEPTS = {concept: load(concept) for concept in INDEX}
DEVELOPMENT = {name: concept for name, concept in Development().concepts.items() if name not in CONCEPTS}
ALL = {**CONCEPTS, **DEVELOPMENT}
each_concept = pytest.mark.parametrize("concept", ALL.values(), ids=ALL)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def near(one: str, other: str) -> bool:
    first, second = set(words(one)), set(words(other))
    return len(first & second) / len(first | second) >= NEAR


def names(concept: Concept) -> set[str]:
    return {concept.id.replace("_", " "), concept.display, *concept.aliases}


def contains(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name.lower())}\b", text.lower()) is not None


def evaluation(concept: Concept) -> tuple[str, ...]:
    return (*concept.prompts.direct, *concept.prompts.indirect)


def known_words() -> set[str]:
    texts = list(VOCABULARY.plain)
    texts += [text for style in VOCABULARY.styles.values() for text in (*style.templates, *style.indirect)]
    texts += [text for subject in VOCABULARY.subjects.values() for text in (*subject.names, *subject.indirect)]
    texts += [text for background in VOCABULARY.backgrounds.values() for text in background.words]
    return set(words(" ".join(texts)))


def test_suite_has_five_concepts_of_each_kind() -> None:
    assert Counter(concept.kind for concept in CONCEPTS.values()) == {"object": 5, "action": 5, "scene": 5, "style": 5}
    assert all(concept.id == name for name, concept in CONCEPTS.items())


def test_development_concepts_stand_before_those_that_boards_evaluate() -> None:
    assert list(Development().concepts) == [*DEVELOPMENT, *EmojiWorld().concepts]
    assert Counter(concept.kind for concept in DEVELOPMENT.values()) == {"object": 2, "action": 2, "scene": 2}
    assert Development().classes("style") == EmojiWorld().classes("style")
    assert Development().classes("object") == EmojiWorld().classes("object")


def test_concepts_of_boards_differ_among_development_concepts_by_their_overlaps_alone() -> None:
    changed = {}
    for name, concept in EmojiWorld().concepts.items():
        found = Development().concepts[name]
        assert concept == CONCEPTS[name]
        assert found.model_copy(update={"overlaps": concept.overlaps}) == concept
        if found != concept:
            changed[name] = set(found.overlaps) - set(concept.overlaps)
    assert changed == {"cycling": {"horse_riding"}, "scenery": {"beach"}, "walking": {"running"}}


@each_concept
def test_counts(concept: Concept) -> None:
    prompts = concept.prompts
    groups = (prompts.direct, prompts.indirect, prompts.target_direct, prompts.target_indirect)
    assert [len(set(group)) for group in groups] == [5, 5, 5, 5]
    assert len({pair.prompt for pair in concept.edit}) == 15


@each_concept
def test_ids_exist_in_the_world(concept: Concept) -> None:
    world = VOCABULARY.styles if concept.kind == "style" else VOCABULARY.subjects
    assert concept.id in world
    assert concept.target.id in world
    assert set(concept.neighbours) <= set(world) - {concept.id}
    assert set(concept.overlaps) <= set(ALL) - {concept.id}


@each_concept
def test_target_is_another_concept_that_no_retain_set_counts(concept: Concept) -> None:
    assert concept.target.id != concept.id
    assert not any(contains(concept.target.display, name) for name in names(concept))
    for dataset in (EmojiWorld(), Development()):
        found = dataset.concepts.get(concept.id, concept)
        assert concept.target.id not in dataset.concepts or concept.target.id in found.overlaps


@each_concept
def test_direct_prompts_name_the_concept_and_indirect_ones_do_not(concept: Concept) -> None:
    for prompt in concept.prompts.direct:
        assert any(contains(prompt, name) for name in names(concept)), prompt
    for prompt in concept.prompts.indirect:
        assert not any(contains(prompt, name) for name in names(concept)), prompt


@each_concept
def test_target_prompts_no_longer_speak_of_the_concept(concept: Concept) -> None:
    pairs = [
        (*concept.prompts.target_direct,),
        (*concept.prompts.target_indirect,),
        (pair.target for pair in concept.edit),
    ]
    for prompt in itertools.chain.from_iterable(pairs):
        assert not any(contains(prompt, name) for name in names(concept)), prompt


@each_concept
def test_training_descriptions_never_name_the_concept(concept: Concept) -> None:
    entry = VOCABULARY.styles[concept.id] if concept.kind == "style" else VOCABULARY.subjects[concept.id]
    for description in entry.indirect:
        assert not any(contains(description, name) for name in names(concept)), description


@each_concept
def test_indirect_prompts_recombine_words_of_the_training_descriptions(concept: Concept) -> None:
    if concept.kind == "style":
        subjects = " ".join(name for subject in VOCABULARY.subjects.values() for name in subject.names)
        known = FRAME | set(words(subjects)) | set(words(" ".join(VOCABULARY.styles[concept.id].indirect)))
    else:
        known = FRAME | set(words(" ".join(VOCABULARY.subjects[concept.id].indirect)))
    for prompt in concept.prompts.indirect:
        assert set(words(prompt)) <= known, (prompt, set(words(prompt)) - known)


@each_concept
def test_every_word_is_known_and_no_prompt_is_long(concept: Concept) -> None:
    prompts = concept.prompts
    known = known_words()
    texts = [*evaluation(concept), *prompts.target_direct, *prompts.target_indirect]
    texts += [text for pair in concept.edit for text in (pair.prompt, pair.target)]
    for text in texts:
        assert set(words(text)) <= known, (text, set(words(text)) - known)
        assert len(re.findall(r"\w+|[^\w\s]", text)) <= LONGEST, text


def test_evaluation_prompts_are_unique_and_far_from_every_edit_prompt() -> None:
    prompts = [prompt for concept in ALL.values() for prompt in evaluation(concept)]
    assert len(prompts) == len(set(prompts)) == 260
    edits = [pair.prompt for concept in ALL.values() for pair in concept.edit]
    assert [(one, other) for one in prompts for other in edits if near(one, other)] == []


def test_training_never_sees_an_evaluation_prompt() -> None:
    prompts = {prompt for concept in ALL.values() for prompt in evaluation(concept)}
    seen = {caption for caption in every_caption(VOCABULARY) if caption in prompts}
    assert seen == set()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("a dog on red", "A dog, on red", True), ("a dog on red", "a cat on blue", False)],
)
def test_near_compares_sets_of_words(one: str, other: str, expected: bool) -> None:
    assert near(one, other) is expected


def test_contains_matches_whole_words_only() -> None:
    assert contains("The Dog barks", "dog")
    assert not contains("a dogma", "dog")
