"""Drawing: sprites on a plain colour, one at a random scale, place, tilt and orientation, or several as told."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from unlearnbench.errors import UserError
from unlearnbench_emojiworld.vocabulary import DATA_FOLDER, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from unlearnbench_emojiworld.vocabulary import Layer

ATLAS_PICTURE = "sprites.png"
ATLAS_INDEX = "sprites.json"
SPRITE_SIZE = 96
SUPERSAMPLING = 2
TILT_DEGREES = 8.0
# Share of the frame taken by the longer side of what is drawn.
EXTENT: dict[Kind, tuple[float, float]] = {"object": (0.72, 0.94), "action": (0.76, 0.96), "scene": (0.84, 1.0)}


class AtlasIndex(BaseModel):
    """Where each sprite stands in the atlas picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(gt=0, description="side of a sprite in pixels")
    pixels_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="digest of the decoded RGBA pixels")
    sources: dict[str, str] = Field(description="style to the npm package and version it was drawn from")
    sprites: dict[str, tuple[int, int]] = Field(
        description="`subject/style` or `subject-attribute/style` to column and row"
    )


@dataclass(frozen=True)
class Atlas:
    """All sprites, premultiplied (PIL mode RGBa), keyed `subject/style` or `subject-attribute/style`."""

    sprites: dict[str, Image.Image]

    @classmethod
    def load(cls, folder: Path = DATA_FOLDER) -> Atlas:
        """Read the atlas of a folder.

        Raises UserError when the picture is not the one the index was written for.
        """
        index = AtlasIndex.model_validate_json((folder / ATLAS_INDEX).read_text(encoding="utf-8"))
        picture = Image.open(folder / ATLAS_PICTURE).convert("RGBA")
        if hashlib.sha256(picture.tobytes()).hexdigest() != index.pixels_sha256:
            raise UserError(
                f"{ATLAS_PICTURE} does not belong to {ATLAS_INDEX}", "python -m unlearnbench_emojiworld.build"
            )
        side = index.size
        return cls(
            {
                key: picture.crop((column * side, row * side, (column + 1) * side, (row + 1) * side)).convert("RGBa")
                for key, (column, row) in index.sprites.items()
            }
        )


@cache
def default_atlas() -> Atlas:
    """Return the shipped atlas, read once a process."""
    return Atlas.load()


def composite(
    sprite: Image.Image, colour: tuple[int, int, int], kind: Kind, rng: np.random.Generator, size: int
) -> NDArray[np.uint8]:
    """Draw a sprite on a plain colour.

    sprite: premultiplied RGBa, square. colour: 0 to 255. Draws five numbers from `rng` in a fixed order: extent,
    horizontal place, vertical place, tilt (up to 8 degrees either way), mirror (one in two). Returns [size, size, 3],
    0 to 255.
    """
    low, high = EXTENT[kind]
    extent, horizontal, vertical, tilt, mirror = rng.random(5).tolist()
    canvas = SUPERSAMPLING * size
    side = (low + (high - low) * extent) * canvas
    free = canvas - side
    centre = (side / 2 + horizontal * free, side / 2 + vertical * free)
    angle = (2.0 * tilt - 1.0) * TILT_DEGREES
    plain = np.broadcast_to(np.asarray(colour, dtype=np.uint16), (size, size, 3))
    return over(lay(sprite, canvas, side, centre, angle, mirrored=mirror < 0.5), plain).astype(np.uint8)


def lay(
    sprite: Image.Image, canvas: int, side: float, centre: tuple[float, float], degrees: float, *, mirrored: bool
) -> NDArray[np.uint16]:
    """Draw a sprite alone at a size, place and tilt.

    sprite: premultiplied RGBa, square. canvas: side of the picture before it is reduced by `SUPERSAMPLING`, in pixels.
    side, centre: of the sprite, in the same pixels. Returns premultiplied [size, size, 4], 0 to 255.
    """
    angle = math.radians(degrees)
    step = sprite.width / side
    cosine, sine = step * math.cos(angle), step * math.sin(angle)
    sign = -1.0 if mirrored else 1.0
    half = sprite.width / 2
    # PIL wants the map from output to input: centre, rotate and scale, then mirror the input's x axis.
    coefficients = (
        sign * cosine,
        sign * sine,
        half - sign * (cosine * centre[0] + sine * centre[1]),
        -sine,
        cosine,
        half + sine * centre[0] - cosine * centre[1],
    )
    drawn = sprite.transform((canvas, canvas), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    return np.asarray(drawn.reduce(SUPERSAMPLING), dtype=np.uint16)


def over(layer: NDArray[np.uint16], below: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Put a premultiplied layer [size, size, 4] on a picture [size, size, 3]; both 0 to 255."""
    # A bicubic overshoot may leave a colour above its alpha; the clip below keeps the sum inside the range.
    mixed = layer[..., :3] + (below * (255 - layer[..., 3:]) + 127) // 255
    return cast("NDArray[np.uint16]", np.minimum(mixed, 255))


def compose(layers: Iterable[tuple[Image.Image, Layer]], colour: tuple[int, int, int], size: int) -> NDArray[np.uint8]:
    """Draw sprites (premultiplied RGBa), the lowest first, on a plain colour: [size, size, 3], 0 to 255."""
    canvas = SUPERSAMPLING * size
    picture: NDArray[np.uint16] = np.broadcast_to(np.asarray(colour, dtype=np.uint16), (size, size, 3))
    for sprite, layer in layers:
        centre = (layer.x * canvas, layer.y * canvas)
        picture = over(lay(sprite, canvas, layer.size * canvas, centre, layer.tilt, mirrored=False), picture)
    return picture.astype(np.uint8)
