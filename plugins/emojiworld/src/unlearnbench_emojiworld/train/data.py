"""Draw and caption the training pictures once, so that training reads arrays only.

`python -m unlearnbench_emojiworld.train.data --out DIR`
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unlearnbench.errors import UserError
from unlearnbench_emojiworld.dataset import EmojiWorld
from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.world import World, rng_for

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from unlearnbench_emojiworld.train.config import DataSettings
    from unlearnbench_emojiworld.world import Split

CAPTION_SEED = 1
SHORT_SEED = 2
PLAINEST = "a picture of {}"
# Stand-ins for the subject in captions that speak of the style only.
ANYTHING = ("something", "a thing", "anything", "an object", "a scene", "a picture", "an icon", "someone", "an image")


@dataclass(frozen=True)
class Drawn:
    """Pictures with what they show and the captions written for them.

    images: uint8 [n, size, size, 3]. labels: int64 [n, 3], indices of subject, style and background.
    captions: n lists. mentions: bool [n, captions, 3], which of the three a caption speaks of.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    captions: list[list[str]]
    mentions: NDArray[np.bool_]

    def save(self, folder: Path, split: Split) -> None:
        """Write the arrays and captions of a split."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{split}-images.npy", self.images)
        np.save(folder / f"{split}-labels.npy", self.labels)
        np.save(folder / f"{split}-mentions.npy", self.mentions)
        (folder / f"{split}-captions.json").write_text(json.dumps(self.captions), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, split: Split) -> Drawn:
        """Read a split; pictures stay on disk until used. Raises UserError when it was not drawn yet."""
        if not (folder / f"{split}-captions.json").exists():
            raise UserError(
                f"no {split} pictures in {folder}", "run `python -m unlearnbench_emojiworld.train.data --out DIR` first"
            )
        return cls(
            np.load(folder / f"{split}-images.npy", mmap_mode="r"),
            np.load(folder / f"{split}-labels.npy"),
            json.loads((folder / f"{split}-captions.json").read_text(encoding="utf-8")),
            np.load(folder / f"{split}-mentions.npy"),
        )


def combination(world: World, index: int) -> tuple[int, int, int]:
    """Return subject, style and background of the picture with an index; every combination comes equally often."""
    styles, backgrounds = len(world.styles), len(world.backgrounds)
    rest, background = divmod(index, backgrounds)
    rest, style = divmod(rest, styles)
    return rest % len(world.subjects), style, background


def write_caption(world: World, label: tuple[int, int, int], split: Split, index: int) -> tuple[str, tuple[bool, bool]]:
    """Write one caption and tell whether it speaks of the style and of the background.

    A caption speaks of a part when the same random numbers write another caption once that part is changed.
    """
    subjects, styles, backgrounds = list(world.subjects), list(world.styles), list(world.backgrounds)
    subject, style, background = label

    def write(style: int, background: int) -> str:
        rng = rng_for(split, index, CAPTION_SEED)
        return world.caption(
            subjects[subject], styles[style % len(styles)], backgrounds[background % len(backgrounds)], rng
        )

    caption = write(style, background)
    return caption, (caption != write(style + 1, background), caption != write(style, background + 1))


def draw(world: World, settings: DataSettings, split: Split) -> Drawn:
    """Draw and caption a whole split."""
    count = settings.renders if split == "train" else settings.heldout
    subjects, styles, backgrounds = list(world.subjects), list(world.styles), list(world.backgrounds)
    images = np.empty((count, settings.size, settings.size, 3), np.uint8)
    labels = np.empty((count, 3), np.int64)
    mentions = np.ones((count, settings.captions, 3), np.bool_)
    captions: list[list[str]] = []
    # Training goes through all combinations in order; a held-out set smaller than that takes them evenly spread.
    total = len(subjects) * len(styles) * len(backgrounds)
    stride = 1 if count >= total else max(1, round(total * 0.618))
    while np.gcd(stride, total) != 1:
        stride += 1
    for index in range(count):
        label = combination(world, index * stride)
        labels[index] = label
        subject, style, background = label
        rng = rng_for(split, index)
        images[index] = world.render(subjects[subject], styles[style], backgrounds[background], rng, settings.size)
        written = [write_caption(world, label, split, index * settings.captions + k) for k in range(settings.captions)]
        captions.append([caption for caption, _ in written])
        mentions[index, :, 1:] = [spoken for _, spoken in written]
    return Drawn(images, labels, captions, mentions)


def short_captions(world: World) -> tuple[list[list[str]], list[list[str]]]:
    """Return texts that name only a subject and texts that name only a style, listed by index.

    Names and descriptions of the evaluated concepts are among them: a classifier is asked with these words. The first
    text of each list is the plainest.
    """
    concepts = EmojiWorld().concepts

    def words(identifier: str) -> list[str]:
        concept = concepts.get(identifier)
        return [] if concept is None else [concept.display, concept.description, *concept.aliases]

    shown = EmojiWorld().classes("style")
    subjects = [
        [PLAINEST.format(subject.names[0])]
        + [
            template.format(name)
            for name in (*subject.names, *subject.indirect, *words(identifier))
            for template in world.plain
        ]
        for identifier, subject in world.subjects.items()
    ]
    styles = [
        [PLAINEST.format(shown[identifier])]
        + [template.format(thing) for thing in ANYTHING for template in (*style.templates, *style.indirect)]
        + [template.format(name) for name in words(identifier) for template in world.plain]
        for identifier, style in world.styles.items()
    ]
    return subjects, styles


def main() -> None:
    """Draw both splits into `<out>/data`."""
    arguments = parse("draw and caption the pictures that training uses")
    world = World.load()
    start = time.perf_counter()
    for split in ("train", "heldout"):
        drawn = draw(world, arguments.config.data, split)
        drawn.save(arguments.out / "data", split)
        print(f"{split}: {len(drawn.images)} pictures, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
