"""Draw and caption the training pictures once, so that training reads arrays only.

`python -m unlearnbench_emojiworld.train.data --out DIR [--without CONCEPT]`
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unlearnbench.errors import UserError
from unlearnbench.identity import digest
from unlearnbench.modelfiles import fingerprint_files
from unlearnbench_emojiworld.concept_files import every_concept
from unlearnbench_emojiworld.dataset import EmojiWorld
from unlearnbench_emojiworld.examples import Examples
from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.vocabulary import DATA_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from unlearnbench_emojiworld.examples import Cell
    from unlearnbench_emojiworld.train.config import DataSettings, TrainConfig
    from unlearnbench_emojiworld.world import Split, World

DRAWN_FROM = "world.txt"
PARTS = ("subject", "style", "background", "attribute")
NO_ATTRIBUTE = 0
NOTHING = -1  # style and background of a planted picture, which no other text can speak of
PLAINEST = "a picture of {}"
# Stand-ins for the subject in captions that speak of the style only.
ANYTHING = ("something", "a thing", "anything", "an object", "a scene", "a picture", "an icon", "someone", "an image")


@dataclass(frozen=True)
class Drawn:
    """Pictures with what they show and the captions written for them.

    images: uint8 [n, size, size, 3]. labels: int64 [n, 4], indices of subject, style, background and attribute (0: has
    none). A planted picture has a subject beyond those of the world. captions: n lists. mentions: bool
    [n, captions, 4], which of the four a caption speaks of.
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

    def every(self, stride: int) -> Drawn:
        """Return one picture in `stride`, from the first on."""
        part = slice(None, None, stride)
        return Drawn(self.images[part], self.labels[part], self.captions[part], self.mentions[part])

    @classmethod
    def for_judges(cls, folder: Path) -> Drawn:
        """Read what judges learn from: no planted picture, and every attribute of a profession equally often.

        A judge that learned from the skewed split could tell the gender by the profession.
        """
        train, balance = cls.load(folder, "train"), cls.load(folder, "balance")
        kept = np.flatnonzero(train.labels[:, 1] != NOTHING)
        return cls(
            np.concatenate([train.images[kept], balance.images]),
            np.concatenate([train.labels[kept], balance.labels]),
            [*(train.captions[row] for row in kept), *balance.captions],
            np.concatenate([train.mentions[kept], balance.mentions]),
        )


def draw(world: World, settings: DataSettings, split: Split) -> Drawn:
    """Draw and caption a whole split; in "train", the planted pictures come after all others."""
    examples = Examples(world)
    if split == "balance":
        cells = examples.balance(settings.renders)
    else:
        count = settings.renders if split == "train" else settings.heldout
        stride = examples.stride(count)
        cells = [examples.cell(split, index, stride) for index in range(count)]
    drawn = _draw_cells(examples, cells, settings, split)
    return _with_planted(drawn, world, settings) if split == "train" and settings.planted and world.planted else drawn


def _draw_cells(examples: Examples, cells: list[Cell], settings: DataSettings, split: Split) -> Drawn:
    places = [
        {name: index for index, name in enumerate(names)}
        for names in (examples.world.subjects, examples.world.styles, examples.world.backgrounds)
    ]
    attributes = {name: index for index, name in enumerate(examples.world.attributes, NO_ATTRIBUTE + 1)}
    images = np.empty((len(cells), settings.size, settings.size, 3), np.uint8)
    labels = np.empty((len(cells), len(PARTS)), np.int64)
    mentions = np.ones((len(cells), settings.captions, len(PARTS)), np.bool_)
    captions: list[list[str]] = []
    for index, cell in enumerate(cells):
        named = (cell.subject, cell.style, cell.background)
        labels[index, :3] = [place[name] for place, name in zip(places, named, strict=True)]
        labels[index, 3] = NO_ATTRIBUTE if cell.attribute is None else attributes[cell.attribute]
        images[index] = examples.draw(cell, split, index, settings.size)
        written = [examples.write(cell, split, index * settings.captions + k) for k in range(settings.captions)]
        captions.append([caption.text for caption in written])
        mentions[index, :, 1:] = [(one.style, one.background, one.attribute) for one in written]
    return Drawn(images, labels, captions, mentions)


def _with_planted(drawn: Drawn, world: World, settings: DataSettings) -> Drawn:
    """Add the copies of every planted picture, each under its one caption.

    A world that lost a planted picture has more copies of the others: the count is kept.
    """
    count, names = settings.planted, list(world.planted)
    which = np.arange(count) % len(names)
    pictures = np.stack([world.draw_planted(name, settings.size) for name in names])
    labels = np.full((count, len(PARTS)), NOTHING, np.int64)
    labels[:, 0] = len(world.subjects) + which
    labels[:, 3] = NO_ATTRIBUTE
    mentions = np.zeros((count, settings.captions, len(PARTS)), np.bool_)
    mentions[:, :, 0] = True
    return Drawn(
        np.concatenate([drawn.images, pictures[which]]),
        np.concatenate([drawn.labels, labels]),
        [*drawn.captions, *([world.planted[names[k]].caption] * settings.captions for k in which)],
        np.concatenate([drawn.mentions, mentions]),
    )


def short_captions(world: World) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """Return texts that name only a subject, only a style, only an attribute, listed by index.

    Names and descriptions of the concepts of all data sets are among them: a classifier is asked with these words. The
    first text of each list is the plainest.
    """
    concepts = every_concept()

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
    attributes = [
        [PLAINEST.format(attribute.words[0])] + [t.format(w) for w in attribute.words for t in world.plain]
        for attribute in world.attributes.values()
    ]
    return subjects, styles, attributes


def drawn_from(config: TrainConfig) -> str:
    """Return the tagged digest of what pictures and captions are made of: words, colours, sprites and what is left out.

    Labels are places in the lists of a world, so pictures of one version of it are wrong in another.
    """
    files = [(path.name, path) for path in sorted(DATA_FOLDER.iterdir()) if path.suffix in (".yaml", ".json")]
    return digest({"files": fingerprint_files(files), "without": list(config.without)})


def main() -> None:
    """Draw the splits into `<out>/data`."""
    arguments = parse("draw and caption the pictures that training uses")
    world = arguments.config.world()
    start = time.perf_counter()
    for split in ("train", "heldout", "balance"):
        drawn = draw(world, arguments.config.data, split)
        drawn.save(arguments.out / "data", split)
        print(f"{split}: {len(drawn.images)} pictures, {time.perf_counter() - start:.0f} s")
    (arguments.out / "data" / DRAWN_FROM).write_text(drawn_from(arguments.config) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
