"""Images by content: what a data set lends, and a request names, is identified by a digest of its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from unlearnbench.dataset import ConceptId, left_out
from unlearnbench.identity import KEY_VERSION

if TYPE_CHECKING:
    from PIL import Image


class DataImage(BaseModel):
    """One image of a data set with its caption; its pixels are read when they are asked for.

    What is written as JSON, and so enters keys, tells the image: two images are equal if these fields are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: str = Field(min_length=1, description="identifier within its data set")
    caption: str = Field("", description="its caption; '' = none, as for a model without text")
    concept: str = Field("", description="id of the concept that it is forgotten with; '' = it is always retained")
    digest: str = Field(description="`digest_pixels` of it")
    shows: tuple[ConceptId, ...] = Field(
        default=(), exclude_if=left_out, description="calibration: all concepts of the data set that it shows"
    )
    unsure: tuple[ConceptId, ...] = Field(
        default=(), exclude_if=left_out, description="calibration: concepts that it may show or not; of the rest, none"
    )
    _source: Callable[[], Any] | None = PrivateAttr(default=None)

    @classmethod
    def lazily(
        cls,
        source: Callable[[], Image.Image],
        *,
        id: str,  # noqa: A002  the name of the field
        caption: str = "",
        concept: str = "",
        digest: str | None = None,
        shows: tuple[str, ...] = (),
        unsure: tuple[str, ...] = (),
    ) -> DataImage:
        """Return an image that `source` reads or draws each time that it is asked for.

        Args:
            source: returns the image; it need not be in RGB.
            id: identifier within its data set.
            caption: its caption.
            concept: the concept that it is forgotten with.
            digest: `digest_pixels` of it, if it is known; otherwise `source` is asked once.
            shows: for the split "calibration", all concepts that it shows.
            unsure: for the same, concepts that nobody knows whether it shows.
        """
        found = digest or digest_pixels(source())
        image = cls(id=id, caption=caption, concept=concept, digest=found, shows=shows, unsure=unsure)
        image._source = source
        return image

    def load(self) -> Image.Image:
        """Return the image in RGB.

        Raises:
            RuntimeError: it was read from JSON, which holds no pixels.
            ValueError: its pixels are not those of its digest, so that a result would be stored under a wrong key.
            OSError: its file cannot be read.
        """
        if self._source is None:
            raise RuntimeError(f"the image {self.id} has no pixels: it was read from JSON, take it from its data set")
        image: Image.Image = self._source().convert("RGB")
        if digest_pixels(image) != self.digest:
            raise ValueError(f"the pixels of the image {self.id} are not those that were planned with: run again")
        return image

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataImage) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash((self.id, self.caption, self.concept, self.digest))


def digest_pixels(image: Image.Image) -> str:
    """Return the tagged digest of an image's size and RGB values, whatever file it came from."""
    plain = image.convert("RGB")
    header = f"{plain.width}x{plain.height}\0".encode()
    return f"{KEY_VERSION}:{hashlib.sha256(header + plain.tobytes()).hexdigest()}"
