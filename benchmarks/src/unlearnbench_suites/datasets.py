"""The data sets of concepts: a folder of YAML files each."""

from __future__ import annotations

from pathlib import Path

from unlearnbench.concepts import ConceptFolder

FOLDER = Path(__file__).parent / "concepts"


def core20() -> ConceptFolder:
    """Return the 20 concepts of the Genμ challenge of 2025."""
    return ConceptFolder(FOLDER / "core20")


def imagenette10() -> ConceptFolder:
    """Return the ten classes of Imagenette."""
    return ConceptFolder(FOLDER / "imagenette10")


def artists() -> ConceptFolder:
    """Return painters: five to erase, ten to preserve, five that are held out."""
    return ConceptFolder(FOLDER / "artists")


def winobias36() -> ConceptFolder:
    """Return the 36 professions of WinoBias in which UCE balances two attributes."""
    return ConceptFolder(FOLDER / "winobias36")


def moderation() -> ConceptFolder:
    """Return five concepts that a safe model should not draw."""
    return ConceptFolder(FOLDER / "moderation")
