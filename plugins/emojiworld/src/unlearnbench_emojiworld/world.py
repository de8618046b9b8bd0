"""EmojiWorld: a complete, small world of subjects, styles and backgrounds that can be drawn and captioned."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from unlearnbench.errors import UserError
from unlearnbench_emojiworld.captions import training_caption
from unlearnbench_emojiworld.render import Atlas, composite, default_atlas
from unlearnbench_emojiworld.vocabulary import Background, Style, Subject, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Background", "Split", "Style", "Subject", "World", "rng_for"]

Split = Literal["train", "heldout", "calibration"]
Item = TypeVar("Item")


def rng_for(split: Split, index: int, seed: int = 0) -> np.random.Generator:
    """Return the random generator of one example.

    Seeded with the SHA-256 of split, index and seed, so that the streams of two splits never coincide.
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
    """Every subject, style and background, with the artwork that draws them."""

    subjects: dict[str, Subject]
    styles: dict[str, Style]
    backgrounds: dict[str, Background]
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
            vocabulary.plain,
            default_atlas(),
        )

    def render(
        self, subject: str, style: str, background: str, rng: np.random.Generator, size: int = 64
    ) -> NDArray[np.uint8]:
        """Draw one picture: random scale, place, tilt and mirror image, all from `rng`.

        Returns [size, size, 3], RGB, 0 to 255. Raises UserError for an unknown subject, style or background.
        """
        kind = find(self.subjects, subject, "subject").kind
        find(self.styles, style, "style")
        colour = find(self.backgrounds, background, "background").rgb
        return composite(self.atlas.sprites[f"{subject}/{style}"], colour, kind, rng, size)

    def caption(self, subject: str, style: str, background: str, rng: np.random.Generator) -> str:
        """Write one training caption for a picture; see `captions.training_caption`.

        Raises UserError for an unknown subject, style or background.
        """
        return training_caption(
            find(self.subjects, subject, "subject"),
            find(self.styles, style, "style"),
            find(self.backgrounds, background, "background"),
            self.plain,
            rng,
        )
