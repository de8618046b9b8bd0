"""The words and colours of EmojiWorld, read from the YAML files of `data/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from unlearnbench.errors import PrerequisiteError

DATA_FOLDER = Path(__file__).parent / "data"
Identifier = str
Kind = Literal["object", "action", "scene"]
Group = Literal["general", "neighbour", "harmful", "profession"]
IDENTIFIER_PATTERN = r"^[a-z][a-z0-9_]*$"
# The file of each group of subjects. `general` is the world of the data sets emojiworld and emojiworld-dev.
FILES: dict[Group, str] = {
    "general": "vocabulary.yaml",
    "neighbour": "neighbours.yaml",
    "harmful": "harmful.yaml",
    "profession": "professions.yaml",
}
PLANTED_FILE = "planted.yaml"
# libyaml reads ten times faster where PyYAML was built with it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Entry(BaseModel):
    """Settings shared by every entry of the vocabulary: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Subject(Entry):
    """One thing the world can draw."""

    id: Identifier = Field(pattern=IDENTIFIER_PATTERN, description="unique identifier")
    group: Group = Field("general", description="what it is in the world for")
    kind: Kind = Field(description="which of the protocol's subject kinds it belongs to")
    sprite: str = Field("", description="icon name shared by the source packages; '' = it has variants")
    variants: dict[Identifier, str] = Field(
        default_factory=dict, description="attribute to icon name, for what is drawn with one of several attributes"
    )
    shares: dict[Identifier, float] = Field(
        default_factory=dict, description="planted skew: attribute to share of the pictures"
    )
    names: tuple[str, ...] = Field(min_length=1, description="direct names, with their article")
    indirect: tuple[str, ...] = Field(min_length=2, description="descriptions that contain no name")

    @model_validator(mode="after")
    def _is_drawn(self) -> Subject:
        if bool(self.sprite) == bool(self.variants):
            raise ValueError(f"{self.id}: either a sprite or variants")
        if set(self.shares) != set(self.variants) or (self.variants and abs(sum(self.shares.values()) - 1.0) > 1e-9):
            raise ValueError(f"{self.id}: one share for each variant, 1 in sum")
        return self

    @property
    def sprites(self) -> dict[str, str]:
        """Return the icon name of each sprite by the name it has in the atlas: the subject's own, or one a variant."""
        if self.sprite:
            return {self.id: self.sprite}
        return {f"{self.id}-{attribute}": icon for attribute, icon in self.variants.items()}


class Style(Entry):
    """One way of drawing: the work of one set of artists."""

    id: Identifier = Field(pattern=IDENTIFIER_PATTERN, description="unique identifier")
    templates: tuple[str, ...] = Field(min_length=2, description="direct templates, one {} for the subject")
    indirect: tuple[str, ...] = Field(min_length=2, description="templates that describe the style without naming it")


class Background(Entry):
    """One plain background colour."""

    id: Identifier = Field(pattern=IDENTIFIER_PATTERN, description="unique identifier")
    rgb: tuple[int, int, int] = Field(description="red, green and blue, each 0 to 255")
    words: tuple[str, ...] = Field(min_length=2, description="phrases that follow the subject")


class AttributeWords(Entry):
    """One attribute that a profession is drawn with."""

    id: Identifier = Field(pattern=IDENTIFIER_PATTERN, description="unique identifier")
    words: tuple[str, ...] = Field(min_length=1, description="texts that name the attribute and nothing else")
    templates: tuple[str, ...] = Field(
        min_length=1, description="phrases with {name}, the subject with its article, or {noun}, without it"
    )


class Layer(Entry):
    """One sprite of a planted picture."""

    subject: Identifier = Field(description="subject without variants")
    style: Identifier = Field(description="its style")
    x: float = Field(ge=0, le=1, description="place of its centre from the left, as share of the frame")
    y: float = Field(ge=0, le=1, description="place of its centre from the top")
    size: float = Field(gt=0, le=1, description="side of its square, as share of the frame")
    tilt: float = Field(ge=-45, le=45, description="degrees")


class Planted(Entry):
    """One picture that training sees hundreds of times, with its caption."""

    id: Identifier = Field(pattern=IDENTIFIER_PATTERN, description="unique identifier")
    name: str = Field(min_length=1, description="the words that name it; part of the caption")
    caption: str = Field(min_length=1, description="the caption of every copy")
    background: Identifier = Field(description="background colour")
    layers: tuple[Layer, ...] = Field(min_length=1, description="what is drawn, the lowest first")


class Vocabulary(Entry):
    """Everything the world can draw and say."""

    subjects: dict[Identifier, Subject] = Field(description="by identifier, group after group")
    styles: dict[Identifier, Style] = Field(description="by identifier")
    backgrounds: dict[Identifier, Background] = Field(description="by identifier")
    attributes: dict[Identifier, AttributeWords] = Field(description="by identifier")
    planted: dict[Identifier, Planted] = Field(description="by identifier")
    plain: tuple[str, ...] = Field(min_length=1, description="caption templates that name no style")

    @classmethod
    def load(cls, folder: Path = DATA_FOLDER) -> Vocabulary:
        """Read the files of a folder; entries are mappings whose key is their identifier.

        Raises PrerequisiteError when a file is missing.
        """
        raw: dict[str, Any] = {}
        subjects: dict[str, Any] = {}
        for group, name in FILES.items():
            part = _read(folder / name)
            subjects |= {key: {"group": group, **fields} for key, fields in part.pop("subjects").items()}
            raw |= part
        raw |= {"subjects": subjects, **_read(folder / PLANTED_FILE)}
        for kind in ("subjects", "styles", "backgrounds", "attributes", "planted"):
            raw[kind] = {key: {"id": key, **fields} for key, fields in raw[kind].items()}
        return cls.model_validate(raw)

    def of_groups(self, *groups: Group) -> dict[Identifier, Subject]:
        """Return the subjects of some groups."""
        return {name: subject for name, subject in self.subjects.items() if subject.group in groups}


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise PrerequisiteError(
            f"the vocabulary {path.name} is missing", "pip install --force-reinstall unlearnbench-emojiworld"
        )
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    return found
