"""EmojiWorld as a concept data set: 20 concepts, and the classes that a classifier chooses from."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from unlearnbench.api import Concept, ConceptDataset, ConceptKind
from unlearnbench_emojiworld.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

CONCEPTS_FOLDER = Path(__file__).parent / "concepts"


class EmojiWorld(ConceptDataset):
    """The concepts of `concepts/*.yaml`, objects first, then actions, scenes and styles."""

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.load()

    @cached_property
    def concepts(self) -> Mapping[str, Concept]:
        """Return the concepts by id."""
        order = ("object", "action", "scene", "style")
        texts = [path.read_text(encoding="utf-8") for path in sorted(CONCEPTS_FOLDER.glob("*.yaml"))]
        read = [Concept.model_validate(yaml.load(text, Loader=_Loader)) for text in texts]
        return {c.id: c for c in sorted(read, key=lambda c: (order.index(c.kind), c.id))}

    def classes(self, kind: ConceptKind) -> Mapping[str, str]:
        """Return every style for a style; every subject of the world, whatever its kind, for all else.

        An image shows one subject in one style, so an action is told apart from objects and scenes too.
        """
        if kind == "style":
            displays = {c.id: c.display for c in self.concepts.values() if c.kind == "style"}
            return {style: displays[style] for style in self._vocabulary.styles}
        return {name: subject.names[0] for name, subject in self._vocabulary.subjects.items()}


# libyaml reads the concept files ten times faster where PyYAML was built with it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
