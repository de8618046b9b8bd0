"""The pictures of a split, one by one: what training draws, and what the data sets lend of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from unlearnbench_emojiworld.concept_files import read_concepts
from unlearnbench_emojiworld.world import World, rng_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unlearnbench_emojiworld.captions import Caption
    from unlearnbench_emojiworld.vocabulary import Group, Planted
    from unlearnbench_emojiworld.world import Split

CAPTION_SEED = 1
ATTRIBUTE_SEED = 3
VARIANT_SEED = 4
# Pictures of a subject for one of a general subject that no board evaluates. With one, near neighbours and harmful
# things were drawn in three of ten images: others look or sound like them.
WEIGHTS: dict[Group, int] = {"general": 1, "profession": 2, "neighbour": 3, "harmful": 3}
EVALUATED_WEIGHT = 2


@dataclass(frozen=True)
class Cell:
    """What is drawn: a subject in a style on a background, with an attribute if it has variants."""

    subject: str
    style: str
    background: str
    attribute: str | None = None


class Examples:
    """All combinations of a world, gone through in order by index; the same index is always the same picture.

    A subject is drawn only on backgrounds that it can be seen on. Evaluated subjects and professions come twice as
    often as other general subjects, near neighbours and harmful things three times. A profession is drawn with the
    planted shares of its attributes in the split "train", with equal shares in "heldout", and "balance" holds what
    training lacks of the rarer attribute, for judges.

    Args:
        world: what there is.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        evaluated = {concept.id for concept in read_concepts()}
        self._cells = [
            Cell(name, style, background)
            for name, subject in world.subjects.items()
            for _ in range(EVALUATED_WEIGHT if name in evaluated else WEIGHTS[subject.group])
            for style in world.styles
            for background in world.visible[name, style]
        ]

    def __len__(self) -> int:
        """Return how many combinations there are, repeated ones counted."""
        return len(self._cells)

    def stride(self, count: int) -> int:
        """Return the step between the combinations of neighbouring indices.

        1 for a split that is not smaller than all combinations: it goes through them in order. A smaller one takes them
        evenly spread.
        """
        stride = 1 if count >= len(self) else max(1, round(len(self) * 0.618))
        while np.gcd(stride, len(self)) != 1:
            stride += 1
        return stride

    def cell(self, split: Split, index: int, stride: int = 1) -> Cell:
        """Return what the picture with an index shows."""
        cell = self._cells[index * stride % len(self)]
        subject = self.world.subjects[cell.subject]
        if not subject.variants:
            return cell
        if split == "balance":
            raise ValueError("`balance` tells what the split balance holds")
        chance = rng_for(split, index, ATTRIBUTE_SEED).random()
        shares = subject.shares if split == "train" else dict.fromkeys(subject.shares, 1.0 / len(subject.shares))
        edges = np.cumsum(list(shares.values()))
        chosen = list(shares)[min(int(np.searchsorted(edges, chance, side="right")), len(shares) - 1)]
        return Cell(cell.subject, cell.style, cell.background, chosen)

    def balance(self, count: int) -> list[Cell]:
        """Return the pictures that make attributes equally frequent beside a training split of `count` pictures."""
        found = []
        for name, subject in self.world.subjects.items():
            if not subject.variants:
                continue
            own = [cell for cell in self._cells if cell.subject == name]
            drawn = count * len(own) / len(self)
            for attribute, share in subject.shares.items():
                missing = round(drawn * (max(subject.shares.values()) - share))
                spread = [own[(k * 7) % len(own)] for k in range(missing)]
                found += [Cell(cell.subject, cell.style, cell.background, attribute) for cell in spread]
        return found

    def draw(self, cell: Cell, split: Split, index: int, size: int) -> NDArray[np.uint8]:
        """Draw a picture. Returns [size, size, 3], RGB, 0 to 255."""
        return self.world.render(
            cell.subject, cell.style, cell.background, rng_for(split, index), size, attribute=cell.attribute
        )

    def write(self, cell: Cell, split: Split, number: int) -> Caption:
        """Write the caption with a number."""
        rng = rng_for(split, number, CAPTION_SEED)
        return self.world.write(cell.subject, cell.style, cell.background, rng, cell.attribute)


@lru_cache(maxsize=1)
def shipped() -> Examples:
    """Return the pictures of the whole shipped world, made once a process."""
    return Examples(World.load())


def variant(picture: Planted, world: World, number: int) -> Planted:
    """Return a picture like a planted one that was never planted: the same sprites elsewhere, on another colour."""
    rng = rng_for("heldout", number, VARIANT_SEED)
    colours = [name for name in world.backgrounds if name != picture.background]
    layers = tuple(
        layer.model_copy(
            update={"x": 1.0 - layer.y + 0.1 * (rng.random() - 0.5), "y": layer.x, "tilt": 30.0 * (rng.random() - 0.5)}
        )
        for layer in picture.layers
    )
    return picture.model_copy(update={"background": colours[int(rng.random() * len(colours))], "layers": layers})
