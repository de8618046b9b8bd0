"""Images of known content: from the data set, or from a folder with one folder a concept."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from PIL import Image, UnidentifiedImageError

from unlearnbench.api import ConceptDataset, DataImage
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.identity import digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Part = Literal["all", "1", "2"]
Truth = tuple[DataImage, bool]
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
BOTH = "+"  # between the concepts of a folder whose images show several


def images_of(dataset: ConceptDataset, folder: Path | None) -> Sequence[DataImage]:
    """Return images whose content is known.

    Args:
        dataset: its split "calibration" is used, unless there is a folder.
        folder: with `<concept id>/*.png`, or `<id>+<id>/*.png` for images that show both.

    Raises:
        PrerequisiteError: there are none.
        UserError: the folder names something that the data set does not know, or holds a file that is no image.
    """
    found = dataset.images("calibration") if folder is None else read_folder(folder, dataset)
    if not found:
        raise PrerequisiteError(
            "the data set brings no images of known content" if folder is None else f"no images in {folder}",
            "name a folder of images: --images DIR, with DIR/CONCEPT/*.png",
        )
    return found


def read_folder(folder: Path, dataset: ConceptDataset) -> list[DataImage]:
    """Return the images of a folder with one folder a concept, a class or a target, in the order of their names.

    An image shows the concepts that its folder names and no other of the data set, but where concepts overlap: whether
    a sunset shows scenery, nobody said.

    Raises:
        PrerequisiteError: there is no such folder.
        UserError: a folder is called like nothing that the data set knows, or a file is no image.
    """
    if not folder.is_dir():
        raise PrerequisiteError(f"there is no folder {folder}", "name a folder that holds DIR/CONCEPT/*.png")
    concepts = dataset.concepts
    known = {*concepts, *(concept.target.id for concept in concepts.values())}
    for kind in {concept.kind for concept in concepts.values()}:
        known |= set(dataset.classes(kind))
    found = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        named = place.name.split(BOTH)
        for name in named:
            if name not in known:
                from unlearnbench.plugins import unknown

                raise unknown(f"concept for the folder {place}:", name, known, "unlearnbench show DATASET")
        shown = tuple(name for name in named if name in concepts)
        unsure = tuple(
            name
            for name, concept in concepts.items()
            if name not in named
            and (not set(named).isdisjoint(concept.overlaps) or any(name in concepts[one].overlaps for one in shown))
        )
        for file in sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES):
            try:
                found.append(
                    DataImage.lazily(partial(_open, file), id=f"{place.name}/{file.name}", shows=shown, unsure=unsure)
                )
            except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
                raise UserError(f"{file} is no image that can be read: {error}", "remove it, or mend it") from error
    return found


def choose(images: Sequence[DataImage], concept: str, most: int, part: Part = "all") -> list[Truth]:
    """Return images with whether they show a concept; what nobody knows is left out.

    Args:
        images: images of known content.
        concept: id of the concept.
        most: at most so many that show it, and so many that do not; the same ones every time, drawn by their digests.
        part: "1" or "2" is one half, so that a threshold can be chosen on one and measured on the other.
    """
    order = sorted(
        (image for image in images if concept not in image.unsure and _part(image, part)),
        key=lambda image: (image.digest, image.id),
    )
    yes = [(image, True) for image in order if concept in image.shows]
    no = [(image, False) for image in order if concept not in image.shows]
    return [*yes[:most], *no[:most]]


def digest_of(truth: Sequence[Truth]) -> str:
    """Return the tagged digest of images with their truth: what of them enters a key."""
    return digest([[image.digest, shown] for image, shown in truth])


def _part(image: DataImage, part: Part) -> bool:
    return part == "all" or (int(image.digest[-1], 16) % 2 == 0) == (part == "1")


def _open(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")
