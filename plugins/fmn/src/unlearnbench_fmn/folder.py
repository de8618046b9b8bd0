"""The folder of reference images that a user gives: one folder of images in it for each concept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearnbench.identity import digest_files

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def image_files(folder: Path) -> list[Path]:
    """Return the image files of a folder, by suffix, sorted by name; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())


def folder_digest(root: Path) -> str:
    """Return the digest of all images of all concepts, names and contents.

    Args:
        root: holds one folder of images for each concept, named by the concept's id.

    Raises:
        ValueError: there is no such folder, or no image in the folders of it.
    """
    if not root.is_dir():
        raise ValueError("there is no such folder")
    files = [(f"{folder.name}/{file.name}", file) for folder in root.iterdir() for file in image_files(folder)]
    if not files:
        raise ValueError("no folder in it holds images; they belong in one folder for each concept, named by its id")
    return digest_files(files)
