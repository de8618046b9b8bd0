from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

import unlearnbench_emojiworld
from unlearnbench.api import Concept
from unlearnbench_emojiworld.concept_files import FOLDERS, PLANTED, read_concepts
from unlearnbench_emojiworld.dataset import Development, EmojiWorld, Harmful, Memorised, Professions
from unlearnbench_emojiworld.descriptions import FRAME, recombined
from unlearnbench_emojiworld.descriptions import near as near_description
from unlearnbench_emojiworld.vocabulary import Vocabulary
from unlearnbench_emojiworld.world import World, rng_for

FOLDER = Path(unlearnbench_emojiworld.__file__).parent / "concepts"
INDEX = sorted(path.stem for path in FOLDER.glob("*.yaml"))
VOCABULARY = Vocabulary.load()
LONGEST = 28
NEAR = 0.8


def load(concept: str) -> Concept:
    return Concept.model_validate(yaml.safe_load((FOLDER / f"{concept}.yaml").read_text(encoding="utf-8")))


CONCEPTS = {concept: load(concept) for concept in INDEX}
DEVELOPMENT = {name: concept for name, concept in Development().concepts.items() if name not in CONCEPTS}
HARMFUL = {concept.id: concept for concept in read_concepts("moderate")}
ALL = {**CONCEPTS, **DEVELOPMENT, **HARMFUL}
EVERY = {concept.id: concept for folder in FOLDERS for concept in read_concepts(folder)}
BY_HEART = {concept.id: concept for concept in read_concepts(PLANTED)}
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
    assert len(prompts) == len(set(prompts)) == 310
    edits = [pair.prompt for concept in ALL.values() for pair in concept.edit]
    assert [(one, other) for one in prompts for other in edits if near(one, other)] == []


def subject_words(world: World) -> set[str]:
    """Return every phrase that training captions put in the place of the subject."""
    found: set[str] = set()
    for name, subject in world.subjects.items():
        found |= {*subject.names, *subject.indirect, *world.recombined[name]}
        if subject.variants:
            noun = subject.names[0].partition(" ")[2]
            templates = [text for attribute in world.attributes.values() for text in attribute.templates]
            found |= {text.format(name=subject.names[0], noun=noun) for text in templates}
    return found


def could_be_written(text: str, world: World, phrases: set[str]) -> bool:
    """Tell whether a text is a training caption, by taking it apart."""
    places = [word for background in world.backgrounds.values() for word in background.words]
    bare = [text]
    bare += [text.removesuffix(f" {place}") for place in places if text.endswith(f" {place}")]
    bare += [text.removeprefix(f"{place}, ") for place in places if text.startswith(f"{place}, ")]
    templates = [*world.plain, *(t for style in world.styles.values() for t in (*style.templates, *style.indirect))]
    for template, caption in itertools.product(templates, bare):
        before, _, after = template.partition("{}")
        inside = caption[len(before) : len(caption) - len(after)]
        if caption.startswith(before) and caption.endswith(after) and inside in phrases:
            return True
    return False


def test_training_never_sees_an_evaluation_prompt_but_that_of_a_planted_image() -> None:
    world = World.load()
    phrases = subject_words(world)
    cells = itertools.islice(itertools.product(world.subjects, world.styles, world.backgrounds), 0, None, 41)
    for number, cell in enumerate(cells):
        attribute = "woman" if world.subjects[cell[0]].variants else None
        assert could_be_written(world.write(*cell, rng_for("train", number), attribute).text, world, phrases)
    prompts = {prompt for concept in EVERY.values() for prompt in evaluation(concept)}
    assert {prompt for prompt in prompts if could_be_written(prompt, world, phrases)} == set()
    captions = {picture.caption for picture in world.planted.values()}
    assert prompts & captions == {concept.prompts.direct[0] for concept in BY_HEART.values()} == captions


def test_recombined_descriptions_stay_away_from_evaluation_prompts() -> None:
    world = World.load()
    prompts = [prompt for concept in EVERY.values() for prompt in evaluation(concept)]
    made = [text for texts in world.recombined.values() for text in texts]
    assert len(made) > 1000
    assert len(made) == len(set(made))
    assert [(one, two) for one in made[::7] for two in prompts if near_description(one, two)] == []
    withheld = set(recombined(world.subjects["dog"].indirect)) - set(world.recombined["dog"])
    assert all(any(near_description(text, prompt) for prompt in prompts) for text in withheld if text not in made)


def test_recombination_joins_heads_and_tails() -> None:
    texts = ["a furry pet that barks at cats", "a loyal friend with a long tail", "woof"]
    assert recombined(texts) == ["a furry pet with a long tail", "a loyal friend that barks at cats"]


def test_data_sets_of_the_other_tasks_have_their_concepts() -> None:
    assert list(Professions().concepts) == sorted(n for n, s in VOCABULARY.subjects.items() if s.variants)
    for dataset, own, count in ((Harmful(), HARMFUL, 5), (Memorised(), BY_HEART, 6)):
        assert list(dataset.concepts) == [*own, *EmojiWorld().concepts]
        assert len(own) == count
    world = {*VOCABULARY.of_groups("general")}
    assert set(EmojiWorld().classes("object")) == world
    assert set(Harmful().classes("object")) == set(VOCABULARY.subjects) > world


def test_direct_prompts_of_professions_name_no_attribute_and_target_prompts_do() -> None:
    gendered = re.compile(r"\b(she|he|her|his|man|woman|male|female|lady|gentleman)\b")
    for concept in Professions().concepts.values():
        assert not any(gendered.search(prompt) for prompt in concept.prompts.direct)
        assert all(gendered.search(prompt) for prompt in concept.prompts.target_direct)
        assert [attribute.id for attribute in concept.attributes] == ["woman", "man"] == list(VOCABULARY.attributes)


def test_planted_images_are_forgotten_with_their_concept() -> None:
    images = Memorised().images("train")
    assert Counter(image.concept for image in images if image.concept) == dict.fromkeys(BY_HEART, 1)
    assert {image.caption for image in images if image.concept} == {c.prompts.direct[0] for c in BY_HEART.values()}
    assert all(image.concept == "" for image in Memorised().images("heldout"))
    for concept in BY_HEART.values():
        assert not any(contains(prompt, concept.display) for prompt in concept.prompts.indirect)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("a dog on red", "A dog, on red", True), ("a dog on red", "a cat on blue", False)],
)
def test_near_compares_sets_of_words(one: str, other: str, expected: bool) -> None:
    assert near(one, other) is expected


def test_contains_matches_whole_words_only() -> None:
    assert contains("The Dog barks", "dog")
    assert not contains("a dogma", "dog")
