"""Captions of a user's own, such as COCO's: of no concept, so no judge is asked about their images.

They are compared with the unedited model's images of the same captions, edit by edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from unlearnbench.api import ConceptId, Frozen, Question, Target
from unlearnbench.concepts import read_file
from unlearnbench.dataset import Text
from unlearnbench.errors import UserError
from unlearnbench.identity import digest
from unlearnbench.words import names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from unlearnbench.api import Concept


class CaptionSet(Frozen):
    """Captions in their order, on which the noise of their images depends; each is sampled once."""

    id: ConceptId
    display: Text = Field(description="what the board calls them")
    captions: tuple[Text, ...] = Field(min_length=2, description="sets of fewer images have no distance")

    @property
    def question(self) -> Question:
        """Return what a set evaluator is told of their images: there is no concept, so there are no classes."""
        target = Target(id=self.id, display=self.display)
        return Question(
            concept=self.id, kind="scene", display=self.display, description=self.display, target=target, classes={}
        )

    def identified(self, seed: int) -> dict[str, Any]:
        """Return what two rows of a board must share: name, sampling seed, number and digest of the captions."""
        texts = list(self.captions)
        return {"id": self.id, "display": self.display, "seed": seed, "images": len(texts), "digest": digest(texts)}

    def without(self, forgotten: Sequence[Concept]) -> CaptionSet:
        """Return the captions that name no forgotten concept: a good edit changes the images of those that do.

        Raises:
            UserError: fewer than two are left.
        """
        kept = tuple(text for text in self.captions if not any(names(text, concept) for concept in forgotten))
        if len(kept) < 2:
            raise UserError(f"fewer than two captions of {self.id} name no forgotten concept", "name a file with more")
        return self.model_copy(update={"captions": kept})


def read_captions(path: Path) -> CaptionSet:
    """Read a file of captions.

    Raises:
        UserError: it cannot be read, is no YAML, or does not fit the schema.
    """
    return read_file(path, CaptionSet, "caption", "see docs/how-to/run-on-stable-diffusion.md for what makes one")
