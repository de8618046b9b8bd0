"""What the LLaVA judge is asked in training, its tokenizer, and several questions at once."""

import numpy as np
import pytest
import torch

from unlearnbench_emojiworld.dataset import EmojiWorld
from unlearnbench_emojiworld.train import llava
from unlearnbench_emojiworld.train.config import TrainConfig
from unlearnbench_emojiworld.train.llava_model import layout
from unlearnbench_emojiworld.train.llava_questions import (
    ANSWER,
    ASK,
    ASSISTANT,
    QUESTION,
    USER,
    Questions,
    Statements,
    choose,
    learn_tokenizer,
    statements,
)


# ---------------------------------------------------------------- what is asked
def test_every_subject_and_style_of_the_world_can_be_asked_about(world):
    subjects, styles = statements(world)
    concepts = EmojiWorld().concepts
    for about, classes in ((subjects, world.subjects), (styles, world.styles)):
        assert len(about.pools) == len(about.near) == len(classes)
        for index, identifier in enumerate(classes):
            texts = [about.texts[row] for row in about.pools[index]]
            assert all(index in about.owners[row] for row in about.pools[index])
            if identifier in concepts:
                assert texts[0] == concepts[identifier].description
                assert concepts[identifier].display in texts
                assert set(concepts[identifier].aliases) <= set(texts)
    for index, subject in enumerate(world.subjects.values()):
        said = {subjects.texts[row] for row in subjects.pools[index]}
        assert {*subject.names, *subject.indirect} <= said


def test_classes_are_near_each_other_both_ways(world):
    for about, classes in zip(statements(world), (world.subjects, world.styles), strict=True):
        place = {identifier: index for index, identifier in enumerate(classes)}
        for index, near in enumerate(about.near):
            assert index not in near
            assert all(index in about.near[other] for other in near)
        for concept in EmojiWorld().concepts.values():
            if concept.id in place:
                known = {place[other] for other in (*concept.neighbours, concept.target.id) if other in place}
                assert known <= set(about.near[place[concept.id]])


def test_a_text_of_several_classes_is_never_a_false_question():
    about = Statements.collect([["a man", "a cook"], ["a woman", "a cook"], ["a dog"]], [[1], [0], []])
    assert about.owners[about.texts.index("a cook")] == {0, 1}
    labels = np.repeat([0, 1, 2], 40)
    likely = np.tile([0, 1], (120, 1))
    rows, true = choose(about, labels, likely, 5, np.random.default_rng(0), plain_share=0.0)
    for row, fits, label in zip(rows.ravel(), true.ravel(), np.repeat(labels, 5), strict=True):
        assert (label in about.owners[row]) == fits
    assert 0.4 < true.mean() < 0.6


def test_false_questions_ask_for_near_classes_likely_ones_and_all_others():
    about = Statements.collect([[str(i)] for i in range(50)], [[1], *[[]] * 49])
    labels, likely = np.zeros(600, int), np.tile([0, 2], (600, 1))
    rows, true = choose(about, labels, likely, 10, np.random.default_rng(0), plain_share=1.0)
    asked = rows[~true]
    for row in (1, 2):
        assert 0.3 < (asked == row).mean() < 0.38
    assert set(asked.tolist()) == set(range(1, 50))


def test_the_first_words_of_a_class_are_asked_more_often():
    about = Statements.collect([[f"{word} {i}" for word in "abcde"] for i in range(2)], [[], []])
    labels, likely = np.zeros(400, int), np.zeros((400, 1), int)
    rows, _ = choose(about, labels, likely, 4, np.random.default_rng(0), plain_share=0.5)
    assert 0.55 < np.isin(rows, [about.pools[0][0], about.pools[1][0]]).mean() < 0.65


# ---------------------------------------------------------------- tokenizer
def test_phrases_of_the_question_are_one_token_each_and_any_text_can_be_spelt():
    coder = learn_tokenizer(["a dog", "the early one"], 300)
    ids = coder.encode(f"{USER} <image>\n{QUESTION.format('Zürich, a dog ☂')} {ASSISTANT}")
    tokens = coder.convert_ids_to_tokens(ids)
    assert [token for token in tokens if token in (USER, "<image>", ASK, ANSWER, ASSISTANT)] == [
        USER, "<image>", ASK, ANSWER, ASSISTANT,
    ]  # fmt: skip
    assert "zürich, a dog ☂?" in coder.decode(ids)
    yes = {coder.encode(form)[0] for form in ("yes", " yes", "Yes", " YES")}
    assert len(yes) == 1
    assert coder.encode("yesterday")[0] not in yes
    assert coder.padding_side == "left"


def test_a_question_is_hardly_longer_than_what_it_asks_about(world):
    about = statements(world)
    coder = learn_tokenizer(about[0].texts, TrainConfig.load().llava.entries)
    questions = Questions.encode(coder, about)
    for some, lengths in zip(about, questions.lengths, strict=True):
        for text, length in zip(some.texts, lengths.tolist(), strict=True):
            assert length == 3 + len(coder.encode(f" {text}?"))


# ---------------------------------------------------------------- several questions at once
def test_the_layout_places_every_question_right_after_the_picture():
    positions, mask = layout(2, 2, 2)
    assert positions.tolist() == [[0, 1, 2, 3, 2, 3]]
    assert (mask[0, 0] == 0).int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]


def test_questions_at_once_are_answered_as_one_by_one(prepared_llava):
    student, coder, questions = prepared_llava
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    rows = [0, 5, 17]
    pixels = llava.to_tensor(images)
    tails, lengths = questions.coded(np.array([rows] * 3), 0)
    together = student.p_yes(student.features(pixels), tails, lengths)
    patches = "<image>" * 4
    for column, row in enumerate(rows):
        text = f"{USER} {patches}\n{QUESTION.format(questions.about[0].texts[row])} {ASSISTANT}"
        ids = torch.tensor([coder.encode(text)])
        for picture in range(3):
            logits = student.llava(input_ids=ids, pixel_values=pixels[picture : picture + 1]).logits[0, -1]
            yes, no = logits[student.yes], logits[student.no]
            assert together[picture, column].item() == pytest.approx((yes - no).sigmoid().item(), abs=1e-5)
    assert together.std() > 1e-3


def test_words_are_classified_by_what_is_stated_alone(prepared_llava):
    student, _, questions = prepared_llava
    tails, lengths = questions.coded(np.array([0, 40]), 0)
    found = student.word_classes(tails, lengths, 0)
    embed = student.llava.get_input_embeddings()
    for row in range(2):
        mean = embed(tails[row, 1 : int(lengths[row]) - 2]).mean(0)
        expected = student.classifiers[0](mean / mean.pow(2).mean().sqrt())
        assert torch.allclose(found[row], expected, rtol=1e-3)
