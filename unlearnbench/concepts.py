"""Concepts in YAML files: one file a concept, a folder a data set."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, get_args

import yaml
from pydantic import ValidationError

from unlearnbench.api import Concept, ConceptDataset, ConceptKind, DataImage, Frozen, ImageSplit
from unlearnbench.errors import UserError
from unlearnbench.suites import explain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

F = TypeVar("F", bound=Frozen)
SUFFIXES = (".yaml", ".yml")
# libyaml reads ten times faster where PyYAML was built with it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_concept(path: Path) -> Concept:
    """Read a concept file.

    Raises:
        UserError: it cannot be read, is no YAML, or does not fit the schema.
    """
    return read_file(path, Concept, "concept", "`unlearnbench new concept NAME` writes a whole one")


def read_file(path: Path, schema: type[F], called: str, advice: str) -> F:
    """Read a YAML file of the given schema, which messages call a `called` file; `advice` tells how to make one.

    Raises:
        UserError: it cannot be read, is no YAML, or does not fit the schema.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
        return schema.model_validate(content)
    except OSError as error:
        raise UserError(f"{called} file {path}: {error.strerror}", "name a file that is there") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{called} file {path} is no YAML: {error}", "mend that line and run again") from error
    except ValidationError as error:
        raise UserError(f"{called} file {path}: {explain(error, schema.model_fields)}", advice) from error


class ConceptFolder(ConceptDataset):
    """The concepts of the YAML files of a folder: objects first, then styles, scenes and actions, each by id.

    Args:
        folder: holds one file a concept, called after its id.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def concepts(self) -> Mapping[str, Concept]:
        """Return the concepts by id.

        Raises:
            UserError: a file is wrong, or there is none.
        """
        order = get_args(ConceptKind)
        paths = sorted(path for path in self.folder.glob("*") if path.suffix in SUFFIXES)
        read = [read_concept(path) for path in paths]
        if not read:
            raise UserError(f"{self.folder} holds no concept file", "name a folder of .yaml files, one a concept")
        for path, concept in zip(paths, read, strict=True):
            if path.stem != concept.id:
                raise UserError(f"{path} holds the concept {concept.id}", f"call the file {concept.id}{path.suffix}")
        return {c.id: c for c in sorted(read, key=lambda c: (order.index(c.kind), c.id))}

    def classes(self, kind: ConceptKind) -> Mapping[str, str]:
        """Return the concepts of a kind, their targets and their neighbours."""
        return classes_of([concept for concept in self.concepts.values() if concept.kind == kind])


class WithConcept(ConceptDataset):
    """A data set and one concept more; a concept of the same id gives way to it.

    Args:
        base: the data set, whose other concepts are retained.
        concept: the concept.
    """

    def __init__(self, base: ConceptDataset, concept: Concept) -> None:
        self._base, self._own = base, concept

    @property
    def concepts(self) -> Mapping[str, Concept]:
        """Return the concepts by id, a new one last."""
        return {**self._base.concepts, self._own.id: self._own}

    def classes(self, kind: ConceptKind) -> Mapping[str, str]:
        """Return the classes of the data set; for the kind of the added concept, with it, its target and neighbours."""
        own = classes_of([self._own]) if kind == self._own.kind else {}
        return {**own, **self._base.classes(kind)}

    def images(self, split: ImageSplit) -> Sequence[DataImage]:
        """Return the images of the data set."""
        return self._base.images(split)


def classes_of(concepts: list[Concept]) -> Mapping[str, str]:
    """Return what a classifier can choose from for some concepts: id -> words, no words twice.

    The concepts go first, then their targets, then their neighbours, whose words are those of their ids.
    """
    named = [(c.id, c.display) for c in concepts]
    named += [(c.target.id, c.target.display) for c in concepts]
    named += [(name, name.replace("_", " ")) for c in concepts for name in c.neighbours]
    found: dict[str, str] = {}
    for name, words in named:
        if name not in found and words.casefold() not in {other.casefold() for other in found.values()}:
            found[name] = words
    return found
