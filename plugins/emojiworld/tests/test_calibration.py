"""The images of known content that EmojiWorld brings for `unlearnbench calibrate`."""

from collections import Counter

import numpy as np
import pytest

from unlearnbench.calibration.images import choose
from unlearnbench_emojiworld.dataset import RENDERS, Development, EmojiWorld
from unlearnbench_emojiworld.world import World, rng_for


@pytest.fixture(scope="module")
def images():
    return EmojiWorld().images("calibration")


def test_every_concept_has_fifty_images_of_either_kind(images):
    for name, concept in EmojiWorld().concepts.items():
        shown = Counter(truth for _, truth in choose(images, name, 10_000))
        assert shown[True] >= 50
        assert shown[False] >= 50
        target = [image for image, truth in choose(images, name, 10_000) if concept.target.id in image.id.split("/")]
        assert target, f"no image of {name} shows its target"


def test_an_image_is_the_render_that_its_name_says(images):
    world = World.load()
    subjects, styles = list(EmojiWorld().classes("object")), list(world.styles)
    for place in (0, 7, len(subjects) * len(styles) - 1):
        number = RENDERS * place + 3
        subject, style = subjects[place // len(styles)], styles[place % len(styles)]
        image = images[number]
        assert image.id == f"{subject}/{style}/3"
        assert image.shows == tuple(name for name in (subject, style) if name in EmojiWorld().concepts)
        rng = rng_for("calibration", number)
        backgrounds = world.visible[subject, style]
        expected = world.render(subject, style, backgrounds[3 % len(backgrounds)], rng)
        assert np.array_equal(np.asarray(image.load()), expected)


def test_no_image_is_there_twice_and_none_is_of_another_split(images):
    assert len({image.digest for image in images}) == len(images)
    assert rng_for("calibration", 0).random() not in {rng_for(split, 0).random() for split in ("train", "heldout")}
    assert EmojiWorld().images("train") == ()


def test_the_development_set_knows_its_own_concepts_in_the_same_images(images):
    own = Development().images("calibration")
    assert [image.digest for image in own] == [image.digest for image in images]
    assert len(choose(own, "fox", 10_000)) == len(own)
    assert not any("fox" in image.shows for image in images)
    assert sum("fox" in image.shows for image in own) == 50
