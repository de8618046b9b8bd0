"""EmojiWorld as concept data sets: 20 concepts, alone or behind others, and the classes of a classifier."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import yaml

from unlearnbench.api import Concept, ConceptDataset, ConceptKind
from unlearnbench_emojiworld.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

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


class Development(EmojiWorld):
    """Concepts that no board evaluates, for choosing the settings of methods, then the concepts to retain."""

    folder = "dev"


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
