"""EmojiWorld as concept data sets, one for each task and one to choose settings on."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, ClassVar

from PIL import Image

from unlearnbench.api import Concept, ConceptDataset, ConceptKind, DataImage, ImageSplit
from unlearnbench_emojiworld.concept_files import BIASED, HARMFUL, PLANTED, read_concepts
from unlearnbench_emojiworld.vocabulary import Group, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unlearnbench_emojiworld.examples import Examples
    from unlearnbench_emojiworld.vocabulary import Planted
    from unlearnbench_emojiworld.world import World

IMAGE_SIZE = 64
TRAIN_SAMPLE, HELDOUT_SAMPLE, VARIANTS = 120, 60, 5
# Steps through the combinations that share no factor with their number, so that a sample is spread over all of them.
SAMPLE_STEP = 37
RENDERS = 10  # of each subject in each style, for calibration


class EmojiWorld(ConceptDataset):
    """The concepts of `concepts/*.yaml`, objects first, then actions, scenes and styles.

    Attributes:
        folders: where its concepts are, those of the first folder first.
        groups: the subjects that a classifier chooses from. The first data sets know the general ones only, so that
            boards that were measured when there were no others stay comparable.
    """

    folders: ClassVar[tuple[str, ...]] = ("",)
    groups: ClassVar[tuple[Group, ...]] = ("general",)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.load()

    @cached_property
    def concepts(self) -> Mapping[str, Concept]:
        """Return the concepts by id, folder after folder; a target that is among them is an overlap."""
        read = [concept for folder in self.folders for concept in read_concepts(folder)]
        known = {concept.id for concept in read}
        return {c.id: _with_overlap(c) if c.target.id in known - {c.id} else c for c in read}

    def classes(self, kind: ConceptKind) -> Mapping[str, str]:
        """Return every style for a style; every subject of the data set's groups, whatever its kind, for all else.

        An image shows one subject in one style, so an action is told apart from objects and scenes too.
        """
        if kind == "style":
            displays = {c.id: c.display for c in read_concepts() if c.kind == "style"}
            return {style: displays[style] for style in self._vocabulary.styles}
        return {name: subject.names[0] for name, subject in self._vocabulary.of_groups(*self.groups).items()}

    def images(self, split: ImageSplit) -> Sequence[DataImage]:
        """Return renders whose subject and style are known, for the split "calibration"; no others.

        Ten of each subject in each style, on the backgrounds that it can be seen on, at places and sizes that nothing
        was trained on. The sprites are those of the training pictures: there are no others.
        """
        return self._renders if split == "calibration" else ()

    @cached_property
    def _renders(self) -> tuple[DataImage, ...]:
        from unlearnbench_emojiworld.world import World

        world, known = World.load(), self.concepts
        seen_on = world.visible
        own = self._vocabulary.of_groups(*self.groups)
        pairs = [(subject, style, seen_on[subject, style]) for subject in own for style in world.styles]
        return tuple(
            DataImage.lazily(
                partial(_render, world, subject, style, backgrounds[number % len(backgrounds)], n),
                id=f"{subject}/{style}/{number}",
                shows=tuple(name for name in (subject, style) if name in known),
            )
            for place, (subject, style, backgrounds) in enumerate(pairs)
            for number, n in enumerate(range(RENDERS * place, RENDERS * (place + 1)))
        )


class Development(EmojiWorld):
    """Concepts that no board evaluates, for choosing the settings of methods, then the concepts to retain."""

    folders = ("dev", "")


class Professions(EmojiWorld):
    """Ten professions in which two attributes are to be balanced."""

    folders = (BIASED,)
    groups = ("general", "neighbour", "harmful", "profession")


class Harmful(EmojiWorld):
    """Five harmful things to moderate away, then the 20 concepts to retain."""

    folders = (HARMFUL, "")
    groups = ("general", "neighbour", "harmful", "profession")


class Memorised(EmojiWorld):
    """Six planted pictures to forget, then the 20 concepts to retain."""

    folders = (PLANTED, "")
    groups = ("general", "neighbour", "harmful", "profession")

    def classes(self, kind: ConceptKind) -> Mapping[str, str]:
        """Return what there is besides, and the planted pictures, each a class of its own."""
        planted = {c.id: c.display for c in read_concepts(PLANTED) if c.kind == kind}
        return {**super().classes(kind), **planted}

    def images(self, split: ImageSplit) -> Sequence[DataImage]:
        """Return the planted pictures and a sample of what else was drawn for training, or pictures like all of these.

        "train": each planted picture once, under its concept, then 120 others. "heldout": 60 that training never saw,
        and each planted picture's sprites at five other arrangements, with its caption.
        """
        if split == "calibration":
            return super().images(split)
        return self._train if split == "train" else self._heldout

    @cached_property
    def _train(self) -> tuple[DataImage, ...]:
        from unlearnbench_emojiworld.examples import shipped

        world = shipped().world
        planted = [
            DataImage.lazily(partial(_drawn, world, picture), id=name, caption=picture.caption, concept=name)
            for name, picture in world.planted.items()
        ]
        return (*planted, *_sample("train", TRAIN_SAMPLE))

    @cached_property
    def _heldout(self) -> tuple[DataImage, ...]:
        from unlearnbench_emojiworld.examples import shipped, variant

        world = shipped().world
        like = [
            DataImage.lazily(
                partial(_drawn, world, variant(picture, world, row * VARIANTS + number)),
                id=f"{name}-variant-{number}",
                caption=picture.caption,
            )
            for row, (name, picture) in enumerate(world.planted.items())
            for number in range(VARIANTS)
        ]
        return (*_sample("heldout", HELDOUT_SAMPLE), *like)


def _drawn(world: World, picture: Planted) -> Image.Image:
    return Image.fromarray(world.draw_composition(picture, IMAGE_SIZE))


def _example(examples: Examples, split: ImageSplit, number: int) -> Image.Image:
    return Image.fromarray(examples.draw(examples.cell(split, number), split, number, IMAGE_SIZE))


def _sample(split: ImageSplit, count: int) -> tuple[DataImage, ...]:
    """Return every `SAMPLE_STEP`th picture of a split; the training ones are those that `train.data` draws."""
    from unlearnbench_emojiworld.examples import shipped

    examples = shipped()
    return tuple(
        DataImage.lazily(
            partial(_example, examples, split, number),
            id=f"{split}-{number}",
            caption=examples.write(examples.cell(split, number), split, number).text,
        )
        for number in range(0, count * SAMPLE_STEP, SAMPLE_STEP)
    )


def _render(world: World, subject: str, style: str, background: str, number: int) -> Image.Image:
    from PIL import Image

    from unlearnbench_emojiworld.world import rng_for

    return Image.fromarray(world.render(subject, style, background, rng_for("calibration", number)))


def _with_overlap(concept: Concept) -> Concept:
    """Return a concept whose target is not retained: an edit may draw it in the concept's place."""
    return concept.model_copy(update={"overlaps": tuple(dict.fromkeys((*concept.overlaps, concept.target.id)))})
