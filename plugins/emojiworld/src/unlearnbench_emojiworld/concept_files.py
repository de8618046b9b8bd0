"""The concept files of EmojiWorld: `concepts/*.yaml` and the folders of the other data sets."""

from __future__ import annotations

from pathlib import Path

import yaml

from unlearnbench.api import Concept

CONCEPTS_FOLDER = Path(__file__).parent / "concepts"
BIASED, HARMFUL, PLANTED = "debias", "moderate", "data"
FOLDERS = ("", "dev", BIASED, HARMFUL, PLANTED)
# libyaml reads the concept files ten times faster where PyYAML was built with it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_concepts(folder: str = "") -> list[Concept]:
    """Return the concepts of a folder's own YAML files, objects first, then actions, scenes and styles.

    folder: one of `FOLDERS`; '' are the 20 that boards evaluate.
    """
    order = ("object", "action", "scene", "style")
    texts = [path.read_text(encoding="utf-8") for path in sorted((CONCEPTS_FOLDER / folder).glob("*.yaml"))]
    read = [Concept.model_validate(yaml.load(text, Loader=_Loader)) for text in texts]
    return sorted(read, key=lambda concept: (order.index(concept.kind), concept.id))


def every_concept() -> dict[str, Concept]:
    """Return the concepts of all data sets by id."""
    return {concept.id: concept for folder in FOLDERS for concept in read_concepts(folder)}
