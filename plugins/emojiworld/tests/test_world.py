from __future__ import annotations

import hashlib
import itertools
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench_emojiworld.captions import training_caption
from unlearnbench_emojiworld.contrast import lab
from unlearnbench_emojiworld.examples import variant
from unlearnbench_emojiworld.render import ATLAS_INDEX, ATLAS_PICTURE, Atlas, AtlasIndex, composite
from unlearnbench_emojiworld.vocabulary import DATA_FOLDER, Vocabulary
from unlearnbench_emojiworld.world import World, rng_for

EVALUATED = {
    "object": {"apple", "dog", "bird", "golf", "daisy"},
    "action": {"dancing", "walking", "sleeping", "swimming", "cycling"},
    "scene": {"sunset", "rainfall", "wedding", "scenery", "night_sky"},
}


# Mean difference of two sprites of 24 px, 0 to 255. The closest are a woman and a man of one profession, in ink.
LEAST_DIFFERENCE = 2


def test_world_has_the_subjects_of_the_suite_and_their_surroundings(world: World) -> None:
    groups = Counter(subject.group for subject in world.subjects.values())
    assert groups == {"general": 52, "neighbour": 19, "harmful": 5, "profession": 10}
    for kind, subjects in EVALUATED.items():
        assert {world.subjects[subject].kind for subject in subjects} == {kind}
    assert list(world.styles) == ["clay", "flat", "ink", "cartoon", "sticker"]
    assert len(world.backgrounds) == 8
    for subject in set().union(*EVALUATED.values()):
        assert len(world.subjects[subject].names) >= 4
        assert len(world.subjects[subject].indirect) >= 10


def test_no_two_subjects_share_a_name_or_a_description(world: World) -> None:
    words = [text for subject in world.subjects.values() for text in (*subject.names, *subject.indirect)]
    assert len(words) == len(set(words))


def test_render_depends_on_the_generator_only(world: World) -> None:
    first = world.render("dog", "clay", "red", rng_for("train", 3))
    again = world.render("dog", "clay", "red", rng_for("train", 3))
    other = world.render("dog", "clay", "red", rng_for("heldout", 3))
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_render_puts_the_whole_sprite_on_the_named_colour(world: World) -> None:
    for index, (style, background) in enumerate(itertools.product(world.styles, world.backgrounds)):
        picture = world.render("apple", style, background, rng_for("train", index), size=96)
        corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert (corners == np.array(world.backgrounds[background].rgb)).all()
        drawn = (picture != np.array(world.backgrounds[background].rgb)).any(-1).mean()
        assert 0.15 < drawn < 0.95


def test_composite_mirrors_about_half_of_the_pictures() -> None:
    half = np.zeros((96, 96, 4), np.uint8)
    half[:, :48] = (0, 0, 0, 255)
    sprite = Image.fromarray(half).convert("RGBa")
    pictures = [composite(sprite, (255, 255, 255), "object", rng_for("train", index), 32) for index in range(200)]
    leaning_left = [picture[:, :16].mean() < picture[:, 16:].mean() for picture in pictures]
    assert 70 < sum(leaning_left) < 130


def test_composite_keeps_a_uniform_colour_exact_inside_the_sprite() -> None:
    sprite = Image.new("RGBA", (96, 96), (40, 160, 220, 255)).convert("RGBa")
    picture = composite(sprite, (255, 255, 255), "scene", rng_for("train", 0), 64)
    assert (picture[24:40, 24:40] == np.array([40, 160, 220])).all()


def test_every_pair_of_subjects_differs_in_every_style(world: World) -> None:
    for style in world.styles:
        sprites = {
            sprite: np.asarray(world.atlas.sprites[f"{sprite}/{style}"].resize((24, 24)), dtype=float)
            for subject in world.subjects.values()
            for sprite in subject.sprites
        }
        for one, other in itertools.combinations(sprites, 2):
            straight = np.abs(sprites[one] - sprites[other]).mean()
            mirrored = np.abs(sprites[one] - sprites[other][:, ::-1]).mean()
            # The ink skylines are the closest: they differ in sun, moon and clouds only.
            assert min(straight, mirrored) > LEAST_DIFFERENCE, (style, one, other)


def test_splits_and_seeds_have_disjoint_streams() -> None:
    streams = itertools.product(("train", "heldout"), range(500), (0, 1))
    first_draws = {rng_for(split, index, seed).random() for split, index, seed in streams}
    assert len(first_draws) == 2000


def test_captions_repeat(world: World) -> None:
    def captions() -> list[str]:
        cells = itertools.product(world.subjects, world.styles, world.backgrounds)
        return [world.caption(*cell, rng_for("train", index)) for index, cell in enumerate(cells)]

    assert captions() == captions()


def test_captions_leave_parts_out_at_the_stated_rates(world: World) -> None:
    subject, style, background = world.subjects["dog"], world.styles["ink"], world.backgrounds["blue"]
    captions = [
        training_caption(subject, style, background, ("PLAIN {}",), rng_for("train", i)).text for i in range(4000)
    ]
    described = np.mean([any(text in caption for text in subject.indirect) for caption in captions])
    unstyled = np.mean(["PLAIN" in caption for caption in captions])
    coloured = np.mean([any(word in caption for word in background.words) for caption in captions])
    assert described == pytest.approx(0.45, abs=0.03)
    assert unstyled == pytest.approx(0.3, abs=0.03)
    assert coloured == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("cell", "wrong"), [(("dgo", "ink", "red"), "dgo"), (("dog", "oil", "red"), "oil"), (("dog", "ink", "mud"), "mud")]
)
def test_unknown_words_name_the_known_ones(world: World, cell: tuple[str, str, str], wrong: str) -> None:
    with pytest.raises(UserError, match=wrong) as caught:
        world.render(*cell, rng_for("train", 0))
    assert "use one of" in caught.value.hint
    with pytest.raises(UserError, match=wrong):
        world.caption(*cell, rng_for("train", 0))


def test_atlas_is_small_and_belongs_to_its_index() -> None:
    assert (DATA_FOLDER / ATLAS_PICTURE).stat().st_size <= 5_000_000
    index = AtlasIndex.model_validate_json((DATA_FOLDER / ATLAS_INDEX).read_text(encoding="utf-8"))
    pixels = np.asarray(Image.open(DATA_FOLDER / ATLAS_PICTURE))
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == index.pixels_sha256
    vocabulary = Vocabulary.load()
    sprites = [name for subject in vocabulary.subjects.values() for name in subject.sprites]
    assert set(index.sprites) == {f"{one}/{two}" for one in sprites for two in vocabulary.styles}
    assert len(set(index.sprites.values())) == len(index.sprites)


def test_a_changed_atlas_is_refused(tmp_path) -> None:
    shutil.copy(DATA_FOLDER / ATLAS_INDEX, tmp_path)
    pixels = np.asarray(Image.open(DATA_FOLDER / ATLAS_PICTURE)).copy()
    pixels[40, 40, 0] ^= 1
    Image.fromarray(pixels).save(tmp_path / ATLAS_PICTURE)
    with pytest.raises(UserError, match=ATLAS_PICTURE):
        Atlas.load(tmp_path)


def test_a_missing_vocabulary_is_a_user_error(tmp_path) -> None:
    with pytest.raises(PrerequisiteError, match=r"vocabulary\.yaml"):
        Vocabulary.load(tmp_path)


def test_colours_that_are_hard_to_see_are_no_backgrounds(world: World) -> None:
    for subject, style, colour in [("moon", "clay", "yellow"), ("tomato", "flat", "red"), ("apple", "flat", "red")]:
        assert colour not in world.visible[subject, style]
        assert "blue" in world.visible[subject, style]
    assert all(len(seen) >= 6 for seen in world.visible.values())
    assert {len(world.visible[subject, "ink"]) for subject in world.subjects} == {8}


def test_the_colour_difference_is_that_of_cie_lab() -> None:
    # Reference values: Lindbloom's calculator, sRGB and D65.
    found = lab(np.array([[255.0, 0.0, 0.0], [255.0, 255.0, 255.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(found, [[53.24, 80.09, 67.20], [100.0, 0.0, 0.0], [0.0, 0.0, 0.0]], atol=0.3)


def test_a_profession_is_drawn_as_the_attribute_that_is_asked_for(world: World) -> None:
    woman, man = (
        world.render("judge", "clay", "red", rng_for("train", 0), attribute=attribute) for attribute in ("woman", "man")
    )
    assert not np.array_equal(woman, man)
    with pytest.raises(UserError, match="child"):
        world.render("judge", "clay", "red", rng_for("train", 0), attribute="child")


def test_half_of_the_professions_are_skewed_each_way(world: World) -> None:
    shares = [subject.shares["woman"] for subject in world.subjects.values() if subject.variants]
    assert sorted(shares) == [0.1] * 5 + [0.9] * 5


def test_a_planted_picture_is_always_the_same_and_its_variants_are_not(world: World) -> None:
    assert len(world.planted) == 6
    drawn = {name: world.draw_planted(name) for name in world.planted}
    for name, picture in drawn.items():
        np.testing.assert_array_equal(picture, world.draw_planted(name))
        like = world.draw_composition(variant(world.planted[name], world, 0))
        others = [other for key, other in drawn.items() if key != name]
        assert like.shape == picture.shape
        assert all(np.abs(other.astype(float) - picture).mean() > 10 for other in [like, *others])
