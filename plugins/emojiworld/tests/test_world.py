from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.words import names
from unlearnbench_emojiworld.captions import training_caption
from unlearnbench_emojiworld.concept_files import every_concept
from unlearnbench_emojiworld.contrast import lab
from unlearnbench_emojiworld.dataset import Memorised
from unlearnbench_emojiworld.examples import Examples, variant
from unlearnbench_emojiworld.render import ATLAS_INDEX, ATLAS_PICTURE, Atlas, AtlasIndex, composite
from unlearnbench_emojiworld.train.config import DataSettings
from unlearnbench_emojiworld.train.data import NOTHING, Drawn, draw
from unlearnbench_emojiworld.vocabulary import DATA_FOLDER, Vocabulary
from unlearnbench_emojiworld.world import World, rng_for

EVALUATED = {
    "object": {"apple", "dog", "bird", "golf", "daisy"},
    "action": {"dancing", "walking", "sleeping", "swimming", "cycling"},
    "scene": {"sunset", "rainfall", "wedding", "scenery", "night_sky"},
}


# Mean difference of two sprites of 24 px, 0 to 255. The closest are a woman and a man of one profession, in ink.
LEAST_DIFFERENCE = 2


@pytest.fixture(scope="module")
def world() -> World:
    return World.load()


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


@pytest.fixture(scope="module")
def examples(world: World) -> Examples:
    return Examples(world)


@pytest.fixture(scope="module")
def drawn(world: World) -> Drawn:
    return draw(world, DataSettings(renders=60, heldout=4, planted=12, captions=2, size=16), "train")


class TestExamples:
    def test_every_combination_is_visible_and_hard_subjects_come_more_often(self, world, examples) -> None:
        cells = [examples.cell("train", index) for index in range(len(examples))]
        assert all(cell.background in world.visible[cell.subject, cell.style] for cell in cells)
        counts = Counter((cell.subject, cell.style, cell.background) for cell in cells)
        assert {counts[key] for key in counts if key[0] in ("dog", "sunset", "judge")} == {2}
        assert {counts[key] for key in counts if key[0] in ("cat", "fox", "beach")} == {1}
        assert {counts[key] for key in counts if key[0] in ("knife", "poodle", "spoon")} == {3}

    def test_training_has_the_planted_skew_and_balance_evens_it_out(self, world, examples) -> None:
        count = 4 * len(examples)
        seen = Counter()
        for index in range(count):
            cell = examples.cell("train", index)
            if cell.attribute:
                seen[cell.subject, cell.attribute] += 1
        added = Counter((cell.subject, cell.attribute) for cell in examples.balance(count))
        for name, subject in world.subjects.items():
            if subject.variants:
                total = seen[name, "woman"] + seen[name, "man"]
                assert seen[name, "woman"] / total == pytest.approx(subject.shares["woman"], abs=0.08)
                both = [seen[name, a] + added[name, a] for a in ("woman", "man")]
                assert both[0] / sum(both) == pytest.approx(0.5, abs=0.06)

    def test_held_out_professions_are_balanced(self, examples) -> None:
        seen = Counter(examples.cell("heldout", index).attribute for index in range(2 * len(examples)))
        assert seen["woman"] / (seen["woman"] + seen["man"]) == pytest.approx(0.5, abs=0.06)


class TestWithout:
    def test_neither_pictures_nor_words_are_left(self, world: World) -> None:
        for name in ("dog", "walking", "sunset", "ink", "fox_lullaby", "knife", "judge"):
            less = world.without(name)
            assert name not in {*less.subjects, *less.styles, *less.planted}
            concept = every_concept()[name]
            said = [text for s in less.subjects.values() for text in (*s.names, *s.indirect)]
            said += [text for style in less.styles.values() for text in (*style.templates, *style.indirect)]
            said += [picture.caption for picture in less.planted.values()]
            said += [text for texts in less.recombined.values() for text in texts]
            assert not [text for text in said if names(text, concept)]
            assert not {name} & {cell.subject for cell in Examples(less)._cells}

    def test_the_count_of_pictures_is_kept(self, world: World) -> None:
        settings = DataSettings(renders=30, heldout=4, planted=12, captions=1, size=16)
        for left in (world, world.without("dog"), world.without("fox_lullaby")):
            assert len(draw(left, settings, "train").images) == 42

    def test_an_unknown_concept_is_a_user_error(self, world: World) -> None:
        with pytest.raises(UserError, match="dgo"):
            world.without("dgo")


class TestDrawn:
    def test_planted_pictures_come_last_with_their_one_caption(self, world: World, drawn) -> None:
        planted = drawn.labels[:, 1] == NOTHING
        assert planted.sum() == 12
        assert planted[-12:].all()
        captions = [picture.caption for picture in world.planted.values()]
        assert Counter(text for group in drawn.captions[-12:] for text in group) == dict.fromkeys(captions, 4)
        assert drawn.mentions[-1].tolist() == [[True, False, False, False]] * 2

    def test_judges_see_no_planted_picture_and_balanced_professions(self, world: World, drawn, tmp_path) -> None:
        drawn.save(tmp_path, "train")
        settings = DataSettings(renders=2000, heldout=4, planted=0, captions=2, size=16)
        balance = draw(world, settings, "balance")
        assert (balance.labels[:, 3] > 0).all()
        balance.save(tmp_path, "balance")
        found = Drawn.for_judges(tmp_path)
        assert len(found.images) == len(found.labels) == len(found.captions) == 60 + len(balance.images)
        assert (found.labels[:, 1] != NOTHING).all()

    def test_what_the_data_set_lends_is_what_training_draws(self, world: World) -> None:
        images = {image.id: image for image in Memorised().images("train")}
        settings = DataSettings(renders=7000, heldout=4, planted=0, captions=1, size=64)
        examples = Examples(world)
        for number in (0, 37, 37 * 5):
            assert examples.stride(settings.renders) == 1
            pixels = examples.draw(examples.cell("train", number), "train", number, settings.size)
            np.testing.assert_array_equal(np.asarray(images[f"train-{number}"].load()), pixels)
        heldout = {image.digest for image in Memorised().images("heldout")}
        assert not heldout & {image.digest for image in images.values()}


class TestBuild:
    @pytest.fixture(autouse=True)
    def build(self):
        pytest.importorskip("resvg_py", reason="resvg-py comes with the extra `build`")
        from unlearnbench_emojiworld import build

        self.build = build

    def test_atlas_bytes_depend_on_the_sprites_only(self, tmp_path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (2, 96, 96, 4), dtype=np.uint8)
        sprites = {"b/ink": Image.fromarray(noise[0]), "a/ink": Image.fromarray(noise[1])}
        one = self.build.write_atlas(sprites, tmp_path / "one")
        other = self.build.write_atlas(dict(reversed(sprites.items())), tmp_path / "other")
        assert one == other
        for name in (ATLAS_PICTURE, ATLAS_INDEX):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
        loaded = Atlas.load(tmp_path / "one").sprites["a/ink"]
        assert loaded.tobytes() == Image.fromarray(noise[1]).convert("RGBa").tobytes()

    def test_fit_crops_without_stretching(self) -> None:
        picture = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
        picture.paste((255, 0, 0, 255), (10, 20, 110, 70))
        box = self.build.fit(picture).getchannel("A").getbbox()
        assert box == (2, 25, 94, 71)

    def test_fit_refuses_an_empty_icon(self) -> None:
        with pytest.raises(UserError, match="empty"):
            self.build.fit(Image.new("RGBA", (32, 32), (0, 0, 0, 0)))

    def test_vector_document_follows_aliases_and_paints_ink(self) -> None:
        icons = {
            "width": 32,
            "height": 32,
            "icons": {"dog": {"body": '<path fill="currentColor" d="M0 0h8v8H0z"/>'}},
            "aliases": {"god": {"parent": "dog", "hFlip": True}, "turned": {"parent": "dog", "rotate": 1}},
        }
        straight = self.build.vector_document(icons, "dog")
        assert self.build.INK in straight
        assert "currentColor" not in straight
        assert "scale(-1 1)" in self.build.vector_document(icons, "god")
        with pytest.raises(UserError, match="turned"):
            self.build.vector_document(icons, "turned")

    def test_a_tarball_that_is_not_the_pinned_one_is_refused(self, tmp_path) -> None:
        package = self.build.PACKAGES["ink"]
        (tmp_path / package.tarball).write_bytes(b"something else")
        with pytest.raises(UserError, match=package.sha256):
            self.build.fetch(package, tmp_path)

    def test_contact_sheet_shows_every_subject_and_style(self, world: World) -> None:
        sheet = self.build.contact_sheet(world, size=16)
        assert sheet.size == (3 * (110 + 5 * 16), -(-len(world.subjects) // 3) * 16)

    def test_the_shipped_sprites_make_the_shipped_files_again(self, tmp_path) -> None:
        index = AtlasIndex.model_validate_json((DATA_FOLDER / ATLAS_INDEX).read_text(encoding="utf-8"))
        side, picture = index.size, Image.open(DATA_FOLDER / ATLAS_PICTURE)
        sprites = {
            key: picture.crop((column * side, row * side, (column + 1) * side, (row + 1) * side))
            for key, (column, row) in index.sprites.items()
        }
        self.build.write_atlas(sprites, tmp_path)
        for name in (ATLAS_PICTURE, ATLAS_INDEX):
            assert (tmp_path / name).read_bytes() == (DATA_FOLDER / name).read_bytes()

    @pytest.mark.slow
    def test_the_shipped_atlas_can_be_rebuilt(self, tmp_path) -> None:
        if shutil.which("npm") is None:
            pytest.skip("needs npm and the network")
        self.build.main(["--out", str(tmp_path)])
        rebuilt, shipped = (json.loads((folder / ATLAS_INDEX).read_text()) for folder in (tmp_path, DATA_FOLDER))
        assert rebuilt == shipped
        assert (tmp_path / ATLAS_PICTURE).read_bytes() == (DATA_FOLDER / ATLAS_PICTURE).read_bytes()
