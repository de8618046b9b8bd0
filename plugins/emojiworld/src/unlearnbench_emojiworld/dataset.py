"""EmojiWorld as concept data sets: 20 concepts, alone or behind others, and the classes of a classifier."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import yaml

from unlearnbench.api import Concept, ConceptDataset, ConceptKind, DataImage, ImageSplit
from unlearnbench_emojiworld.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL import Image

    from unlearnbench_emojiworld.world import World

RENDERS = 10  # of each subject in each style
CONCEPTS_FOLDER = Path(__file__).parent / "concepts"


class EmojiWorld(ConceptDataset):
    """The concepts of `concepts/*.yaml`, objects first, then actions, scenes and styles."""

    folder: ClassVar[str | None] = None

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.load()

    @cached_property
    def concepts(self) -> Mapping[str, Concept]:
        """Return the concepts by id, those of the folder first; a target that is among them is an overlap."""
        own = [] if self.folder is None else read_concepts(CONCEPTS_FOLDER / self.folder)
        read = [*own, *read_concepts(CONCEPTS_FOLDER)]
        known = {concept.id for concept in read}
        return {concept.id: _with_overlap(concept) if concept.target.id in known else concept for concept in read}

    def classes(self, kind: ConceptKind) -> Mapping[str, str]:
        """Return every style for a style; every subject of the world, whatever its kind, for all else.

        An image shows one subject in one style, so an action is told apart from objects and scenes too.
        """
        if kind == "style":
            displays = {c.id: c.display for c in self.concepts.values() if c.kind == "style"}
            return {style: displays[style] for style in self._vocabulary.styles}
        return {name: subject.names[0] for name, subject in self._vocabulary.subjects.items()}

    def images(self, split: ImageSplit) -> Sequence[DataImage]:
        """Return renders whose subject and style are known, for the split "calibration"; no others.

        Ten of each subject in each style, on all backgrounds, at places and sizes that nothing was trained on. The
        sprites are those of the training pictures: there are no others.
        """
        return self._renders if split == "calibration" else ()

    @cached_property
    def _renders(self) -> Sequence[DataImage]:
        from unlearnbench_emojiworld.world import World

        world, known = World.load(), self.concepts
        backgrounds = list(world.backgrounds)
        pairs = [(subject, style) for subject in world.subjects for style in world.styles]
        return tuple(
            DataImage.lazily(
                partial(_render, world, subject, style, backgrounds[number % len(backgrounds)], number),
                id=f"{subject}/{style}/{number % RENDERS}",
                shows=tuple(name for name in (subject, style) if name in known),
            )
            for place, (subject, style) in enumerate(pairs)
            for number in range(RENDERS * place, RENDERS * (place + 1))
        )


class Development(EmojiWorld):
    """Concepts that no board evaluates, for choosing the settings of methods, then the concepts to retain."""

    folder = "dev"


def _render(world: World, subject: str, style: str, background: str, number: int) -> Image.Image:
    from PIL import Image

    from unlearnbench_emojiworld.world import rng_for

    return Image.fromarray(world.render(subject, style, background, rng_for("calibration", number)))


def read_concepts(folder: Path) -> list[Concept]:
    """Return the concepts of a folder's own YAML files, objects first, then actions, scenes and styles."""
    order = ("object", "action", "scene", "style")
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))]
    read = [Concept.model_validate(yaml.load(text, Loader=_Loader)) for text in texts]
    return sorted(read, key=lambda concept: (order.index(concept.kind), concept.id))


def _with_overlap(concept: Concept) -> Concept:
    """Return a concept whose target is not retained: an edit may draw it in the concept's place."""
    return concept.model_copy(update={"overlaps": tuple(dict.fromkeys((*concept.overlaps, concept.target.id)))})


# libyaml reads the concept files ten times faster where PyYAML was built with it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
