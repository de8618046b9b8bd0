from __future__ import annotations

import hashlib
import itertools
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench_emojiworld.captions import every_caption, training_caption
from unlearnbench_emojiworld.render import ATLAS_INDEX, ATLAS_PICTURE, Atlas, AtlasIndex, composite
from unlearnbench_emojiworld.vocabulary import DATA_FOLDER, Vocabulary
from unlearnbench_emojiworld.world import World, rng_for

EVALUATED = {
    "object": {"apple", "dog", "bird", "golf", "daisy"},
    "action": {"dancing", "walking", "sleeping", "swimming", "cycling"},
    "scene": {"sunset", "rainfall", "wedding", "scenery", "night_sky"},
}


@pytest.fixture(scope="module")
def world() -> World:
    return World.load()


def test_world_has_the_subjects_of_the_suite_and_their_surroundings(world: World) -> None:
    assert 48 <= len(world.subjects) <= 52
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
            subject: np.asarray(world.atlas.sprites[f"{subject}/{style}"].resize((24, 24)), dtype=float)
            for subject in world.subjects
        }
        for one, other in itertools.combinations(sprites, 2):
            straight = np.abs(sprites[one] - sprites[other]).mean()
            mirrored = np.abs(sprites[one] - sprites[other][:, ::-1]).mean()
            # The ink skylines are the closest: they differ in sun, moon and clouds only.
            assert min(straight, mirrored) > 4, (style, one, other)


def test_splits_and_seeds_have_disjoint_streams() -> None:
    streams = itertools.product(("train", "heldout"), range(500), (0, 1))
    first_draws = {rng_for(split, index, seed).random() for split, index, seed in streams}
    assert len(first_draws) == 2000


def test_captions_repeat_and_are_all_enumerated(world: World) -> None:
    def captions() -> list[str]:
        cells = itertools.product(world.subjects, world.styles, world.backgrounds)
        return [world.caption(*cell, rng_for("train", index)) for index, cell in enumerate(cells)]

    written = captions()
    assert written == captions()
    assert set(written) <= set(every_caption(Vocabulary.load()))


def test_captions_leave_parts_out_at_the_stated_rates(world: World) -> None:
    subject, style, background = world.subjects["dog"], world.styles["ink"], world.backgrounds["blue"]
    captions = [training_caption(subject, style, background, ("PLAIN {}",), rng_for("train", i)) for i in range(4000)]
    described = np.mean([any(text in caption for text in subject.indirect) for caption in captions])
    unstyled = np.mean(["PLAIN" in caption for caption in captions])
    coloured = np.mean([any(word in caption for word in background.words) for caption in captions])
    assert described == pytest.approx(0.3, abs=0.03)
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
    assert set(index.sprites) == {f"{one}/{two}" for one in vocabulary.subjects for two in vocabulary.styles}
    assert len(set(index.sprites.values())) == len(index.sprites)


def test_a_changed_atlas_is_refused(tmp_path) -> None:
    shutil.copy(DATA_FOLDER / ATLAS_INDEX, tmp_path)
    pixels = np.asarray(Image.open(DATA_FOLDER / ATLAS_PICTURE)).copy()
    pixels[40, 40, 0] ^= 1
    Image.fromarray(pixels).save(tmp_path / ATLAS_PICTURE)
    with pytest.raises(UserError, match=ATLAS_PICTURE):
        Atlas.load(tmp_path)


def test_a_missing_vocabulary_is_a_user_error(tmp_path) -> None:
    with pytest.raises(PrerequisiteError, match=r"words\.yaml"):
        Vocabulary.load(tmp_path / "words.yaml")


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

    @pytest.mark.slow
    def test_the_shipped_atlas_can_be_rebuilt(self, tmp_path) -> None:
        if shutil.which("npm") is None:
            pytest.skip("needs npm and the network")
        self.build.main(["--out", str(tmp_path)])
        rebuilt, shipped = (json.loads((folder / ATLAS_INDEX).read_text()) for folder in (tmp_path, DATA_FOLDER))
        assert rebuilt == shipped
