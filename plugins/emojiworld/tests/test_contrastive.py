import numpy as np

from unlearnbench_emojiworld.examples import Examples
from unlearnbench_emojiworld.train import (
    contrastive,
)
from unlearnbench_emojiworld.train.fit import Batch
from unlearnbench_emojiworld.world import World


def test_what_a_caption_speaks_of_is_in_it():
    world = World.load()
    examples = Examples(world)
    spoken = np.zeros(3, int)
    for index in range(0, 200):
        cell = examples.cell("train", 37 * index)
        caption = examples.write(cell, "train", index)
        subject, style, background = (
            world.subjects[cell.subject], world.styles[cell.style], world.backgrounds[cell.background]
        )  # fmt: skip
        assert caption.background == any(word in caption.text for word in background.words)
        phrases = [t.split("{}") for t in (*style.templates, *style.indirect)]
        assert not caption.style or any(all(part in caption.text for part in parts) for parts in phrases)
        if cell.attribute is None:
            assert not caption.attribute
        elif not caption.attribute:
            words = {"woman", "man", "female", "male", "lady", "gentleman", "she", "he", "her", "his"}
            assert not words & set(caption.text.replace(",", "").split()), (subject.id, caption.text)
        spoken += (caption.style, caption.background, caption.attribute)
    assert (spoken > 0).all()


def test_a_caption_matches_all_pictures_that_agree_with_what_it_says():
    labels = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0]])
    mentions = np.array([[True, False, False], [True, True, False], [False, True, False]])
    assert contrastive.matches(labels, mentions).tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 1]]


def test_filler_is_put_inside_and_never_speaks():
    words = np.array([1, 5, 6, 2, 2, 2, 2, 2])
    for seed in range(20):
        changed = contrastive.put_in(words, np.array([8, 9]), 2, np.random.default_rng(seed))
        assert len(changed) == len(words)
        assert changed[0] == 1
        assert [token for token in changed if token not in (8, 9)][:4] == [1, 5, 6, 2]
        assert changed[-1] == 2


def test_half_of_the_batches_show_few_subjects():
    labels = np.stack([np.arange(400) % 40, np.zeros(400, int), np.zeros(400, int)], 1)
    crowded = contrastive.pick_pictures(labels, Batch(1, 200, np.random.default_rng(0)), 40)
    mixed = contrastive.pick_pictures(labels, Batch(2, 200, np.random.default_rng(0)), 40)
    assert len(set(labels[crowded, 0])) <= contrastive.SUBJECTS_OF_CROWDED_BATCH < len(set(labels[mixed, 0]))
