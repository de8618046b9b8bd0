from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from unlearnbench.errors import UserError
from unlearnbench.words import names
from unlearnbench_emojiworld.concept_files import every_concept
from unlearnbench_emojiworld.dataset import Memorised
from unlearnbench_emojiworld.examples import Examples
from unlearnbench_emojiworld.train.config import DataSettings
from unlearnbench_emojiworld.train.data import NOTHING, Drawn, draw

if TYPE_CHECKING:
    from unlearnbench_emojiworld.world import World


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
