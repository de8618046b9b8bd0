"""EmojiWorld: a complete, small world of subjects, styles and backgrounds that can be drawn and captioned."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from unlearnbench.errors import UserError
from unlearnbench.words import names
from unlearnbench_emojiworld.captions import Caption, training_caption
from unlearnbench_emojiworld.concept_files import every_concept
from unlearnbench_emojiworld.contrast import MOST_HIDDEN, hidden
from unlearnbench_emojiworld.descriptions import every_description
from unlearnbench_emojiworld.render import Atlas, compose, composite, default_atlas
from unlearnbench_emojiworld.vocabulary import AttributeWords, Background, Planted, Style, Subject, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from unlearnbench.api import Concept

__all__ = ["Background", "Split", "Style", "Subject", "World", "rng_for"]

Split = Literal["train", "heldout", "balance", "calibration"]
Item = TypeVar("Item")


def rng_for(split: Split, index: int, seed: int = 0) -> np.random.Generator:
    """Return the random generator of one example.

    Seeded with the SHA-256 of split, index and seed, so that the streams of the splits never coincide.
    """
    digest = hashlib.sha256(f"emojiworld/{split}/{seed}/{index}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def find(items: Mapping[str, Item], key: str, what: str) -> Item:
    """Return an entry by identifier. Raises UserError that lists the known ones."""
    try:
        return items[key]
    except KeyError:
        raise UserError(f"EmojiWorld has no {what} {key!r}", f"use one of: {', '.join(items)}") from None


@dataclass(frozen=True)
class World:
    """Every subject, style, background and planted picture, with the artwork that draws them."""

    subjects: dict[str, Subject]
    styles: dict[str, Style]
    backgrounds: dict[str, Background]
    attributes: dict[str, AttributeWords]
    planted: dict[str, Planted]
    plain: tuple[str, ...]
    atlas: Atlas

    @classmethod
    def load(cls) -> World:
        """Read the shipped vocabulary and atlas."""
        vocabulary = Vocabulary.load()
        return cls(
            dict(vocabulary.subjects),
            dict(vocabulary.styles),
            dict(vocabulary.backgrounds),
            dict(vocabulary.attributes),
            dict(vocabulary.planted),
            vocabulary.plain,
            default_atlas(),
        )

    def without(self, concept: str) -> World:
        """Return the world without a concept: it is neither drawn nor named, and no text of another subject names it.

        concept: id of a subject that has a concept file, of a style or of a planted picture. Raises UserError for any
        other, or if nothing would be left to say about another subject.
        """
        gone = find(every_concept(), concept, "concept")

        def kept(texts: tuple[str, ...], owner: str) -> tuple[str, ...]:
            found = tuple(text for text in texts if names(text, gone) is None)
            if not found:
                raise UserError(f"without {concept} there are no words for {owner}", "leave out another concept")
            return found

        return replace(
            self,
            subjects={
                name: subject.model_copy(
                    update={"names": kept(subject.names, name), "indirect": kept(subject.indirect, name)}
                )
                for name, subject in self.subjects.items()
                if name != concept
            },
            styles={
                name: style.model_copy(
                    update={"templates": kept(style.templates, name), "indirect": kept(style.indirect, name)}
                )
                for name, style in self.styles.items()
                if name != concept
            },
            planted={
                name: picture
                for name, picture in self.planted.items()
                if name != concept
                and names(picture.caption, gone) is None
                and not any(concept in (layer.subject, layer.style) for layer in picture.layers)
            },
        )

    @cached_property
    def recombined(self) -> dict[str, tuple[str, ...]]:
        """Return more descriptions of each subject, made of parts of its own; none is near an evaluation prompt."""
        own = {name: subject.indirect for name, subject in self.subjects.items()}
        return every_description(dict(own), [text for c in every_concept().values() for text in asked(c)])

    @cached_property
    def visible(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """Return the backgrounds on which all sprites of a subject can be seen in a style: (subject, style) to ids."""
        colours = np.array([background.rgb for background in self.backgrounds.values()], dtype=np.float64)
        found: dict[tuple[str, str], tuple[str, ...]] = {}
        for name, subject in self.subjects.items():
            for style in self.styles:
                shares = np.max([hidden(self.atlas.sprites[f"{s}/{style}"], colours) for s in subject.sprites], axis=0)
                seen = zip(self.backgrounds, shares, strict=True)
                found[name, style] = tuple(background for background, share in seen if share < MOST_HIDDEN)
        return found

    def render(
        self,
        subject: str,
        style: str,
        background: str,
        rng: np.random.Generator,
        size: int = 64,
        attribute: str | None = None,
    ) -> NDArray[np.uint8]:
        """Draw one picture: random scale, place, tilt and mirror image, all from `rng`.

        attribute: which variant of a subject that has some; None = the first. Returns [size, size, 3], RGB, 0 to 255.
        Raises UserError for an unknown subject, style, background or attribute.
        """
        found = find(self.subjects, subject, "subject")
        find(self.styles, style, "style")
        colour = find(self.backgrounds, background, "background").rgb
        sprites = {name.partition("-")[2]: name for name in found.sprites}
        sprite = find(sprites, next(iter(sprites)) if attribute is None else attribute, f"variant of {subject}")
        return composite(self.atlas.sprites[f"{sprite}/{style}"], colour, found.kind, rng, size)

    def draw_planted(self, name: str, size: int = 64) -> NDArray[np.uint8]:
        """Draw a planted picture: always the same. Returns [size, size, 3], RGB, 0 to 255.

        Raises UserError for an unknown one.
        """
        picture = find(self.planted, name, "planted picture")
        return self.draw_composition(picture, size)

    def draw_composition(self, picture: Planted, size: int = 64) -> NDArray[np.uint8]:
        """Draw sprites at given places. Returns [size, size, 3], RGB, 0 to 255."""
        layers = [(self.atlas.sprites[f"{layer.subject}/{layer.style}"], layer) for layer in picture.layers]
        return compose(layers, find(self.backgrounds, picture.background, "background").rgb, size)

    def write(
        self, subject: str, style: str, background: str, rng: np.random.Generator, attribute: str | None = None
    ) -> Caption:
        """Write one training caption for a picture; see `captions.training_caption`.

        Raises UserError for an unknown subject, style, background or attribute.
        """
        return training_caption(
            find(self.subjects, subject, "subject"),
            find(self.styles, style, "style"),
            find(self.backgrounds, background, "background"),
            self.plain,
            rng,
            recombined=self.recombined[subject],
            attribute=None if attribute is None else find(self.attributes, attribute, "attribute"),
        )

    def caption(self, subject: str, style: str, background: str, rng: np.random.Generator) -> str:
        """Return the text of `write`."""
        return self.write(subject, style, background, rng).text


def asked(concept: Concept) -> tuple[str, ...]:
    """Return the evaluation prompts of a concept."""
    return (*concept.prompts.direct, *concept.prompts.indirect)
