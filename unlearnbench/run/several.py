"""Several concepts in one edit: what such an edit is called on a board, and its steps if they follow each other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from unlearnbench.api import Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import Request
    from unlearnbench.spec import Suite


def groups(suite: Suite) -> list[tuple[str, ...]]:
    """Return the concepts that each edit of a suite forgets."""
    return [(concept,) for concept in suite.forget] if suite.several == "apart" else [suite.forget]


def label_of(group: Sequence[str], suite: Suite) -> str:
    """Return what an edit is called on a board: 'dog', 'dog+ink' at once, 'dog>ink' in this order."""
    return (">" if suite.several == "sequence" else "+").join(group)


def members(label: str) -> tuple[str, ...]:
    """Return the concepts of a label."""
    return tuple(re.split(r"[+>]", label))


def steps(request: Request) -> list[Request]:
    """Return the requests that a method gets one after the other: the request itself unless it is a sequence.

    Every step forgets one concept, with the training images of that concept, and retains what the whole request does.
    """
    if not request.sequence:
        return [request]
    return [
        request.model_copy(
            update={
                "sequence": False,
                "forget": (concept,),
                "forget_images": tuple(image for image in request.forget_images if image.concept == concept.id),
            }
        )
        for concept in request.forget
    ]


def joined(asked: Sequence[Sampling | None]) -> Sampling | None:
    """Return what several steps ask of the sampler; a phrase that two rewrite is rewritten as the last says."""
    given = [sampling for sampling in asked if sampling is not None]
    if len(given) < 2:
        return given[0] if given else None
    negative = [sampling.negative_prompt for sampling in given if sampling.negative_prompt]
    rewrite = {phrase: words for sampling in given for phrase, words in sampling.rewrite.items()}
    return Sampling(negative_prompt=", ".join(negative) or None, rewrite=rewrite)
