"""The words and colours of EmojiWorld, read from `data/vocabulary.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from unlearnbench.errors import PrerequisiteError

DATA_FOLDER = Path(__file__).parent / "data"
Identifier = str
Kind = Literal["object", "action", "scene"]
IDENTIFIER_PATTERN = r"^[a-z][a-z0-9_]*$"


class Entry(BaseModel):
    """Settings shared by every entry of the vocabulary: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Subject(Entry):
    """One thing the world can draw."""

    id: Identifier = Field(pattern=IDENTIFIER_PATTERN, description="unique identifier")
    kind: Kind = Field(description="which of the protocol's subject kinds it belongs to")
    sprite: str = Field(min_length=1, description="icon name shared by the source packages")
    names: tuple[str, ...] = Field(min_length=1, description="direct names, with their article")
    indirect: tuple[str, ...] = Field(min_length=2, description="descriptions that contain no name")


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


class Vocabulary(Entry):
    """Everything the world can draw and say."""

    subjects: dict[Identifier, Subject] = Field(description="by identifier")
    styles: dict[Identifier, Style] = Field(description="by identifier")
    backgrounds: dict[Identifier, Background] = Field(description="by identifier")
    plain: tuple[str, ...] = Field(min_length=1, description="caption templates that name no style")

    @classmethod
    def load(cls, path: Path = DATA_FOLDER / "vocabulary.yaml") -> Vocabulary:
        """Read a vocabulary file; entries are mappings whose key is their identifier.

        Raises PrerequisiteError when the file is missing.
        """
        if not path.exists():
            raise PrerequisiteError(
                f"the vocabulary {path.name} is missing", "pip install --force-reinstall unlearnbench-emojiworld"
            )
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in ("subjects", "styles", "backgrounds"):
            raw[group] = {key: {"id": key, **fields} for key, fields in raw[group].items()}
        return cls.model_validate(raw)
