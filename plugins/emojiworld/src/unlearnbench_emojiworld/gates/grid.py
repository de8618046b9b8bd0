"""Pictures in rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_grid(rows: Sequence[Sequence[Image.Image]], path: Path) -> None:
    """Write images of one size as a grid, enlarged twice, with a palette (a third of the bytes)."""
    picture = np.concatenate([np.concatenate([np.asarray(image) for image in row], axis=1) for row in rows])
    large = Image.fromarray(picture.repeat(2, axis=0).repeat(2, axis=1))
    large.quantize(256).save(path, optimize=True)
