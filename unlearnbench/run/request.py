"""What a method is asked to forget, and what a judge is asked about an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearnbench.api import Concept, ConceptDataset, DataImage, ForgetConcept, Question, Request, Task
from unlearnbench.errors import UserError
from unlearnbench.words import names

if TYPE_CHECKING:
    from collections.abc import Sequence


def make_request(dataset: ConceptDataset, forget: Sequence[str], task: Task = "erase") -> Request:
    """Return the request to forget concepts of a data set and to retain all others that are not held out.

    The retain prompts are the edit prompts of every other concept, less those of overlapping concepts and any prompt
    that is an edit prompt of a forgotten concept or holds its name or an alias, as "a dog drawn in ink" does for the
    style ink: no method can forget what it is told to protect. Training images are part of the task 'data' only, and
    so are attributes of 'debias': what another task does not need is in no key.

    Raises:
        UserError: the data set lacks what the task needs: images, or attributes.
    """
    chosen = [dataset.concepts[c] for c in forget]
    excluded = {c.id for c in chosen} | {o for c in chosen for o in c.overlaps}
    others = [c for c in dataset.concepts.values() if c.id not in excluded and not c.held_out]
    edited = {_normal(pair.prompt) for c in chosen for pair in c.edit}
    retain = dict.fromkeys(
        pair.prompt
        for c in others
        for pair in c.edit
        if _normal(pair.prompt) not in edited and not any(names(pair.prompt, gone) for gone in chosen)
    )
    images = dataset.images("train") if task == "data" else ()
    _check_task(task, chosen, images)
    return Request(
        task=task,
        forget=tuple(
            ForgetConcept(
                id=c.id, kind=c.kind, name=c.display, aliases=c.aliases, target=c.target.display, pairs=c.edit,
                attributes=c.attributes if task == "debias" else (),
            )
            for c in chosen
        ),
        retain=tuple(retain),
        retain_names=tuple(c.display for c in others),
        forget_images=tuple(image for image in images if image.concept in forget),
        retain_images=tuple(image for image in images if image.concept not in forget),
    )  # fmt: skip


def _check_task(task: Task, chosen: Sequence[Concept], images: Sequence[DataImage]) -> None:
    """Refuse concepts that lack what the task needs."""
    have = {image.concept for image in images} if task == "data" else {c.id for c in chosen if c.attributes}
    lacking = [c.id for c in chosen if c.id not in have] if task in ("debias", "data") else []
    if lacking:
        what = "attributes to balance" if task == "debias" else "training images to forget"
        raise UserError(f"the data set has no {what} for {', '.join(lacking)}", "choose other concepts or another task")


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def make_question(dataset: ConceptDataset, concept: Concept, task: Task = "erase") -> Question:
    """Return what the judge is asked about images of a concept: the classes of its kind, itself and its target.

    To 'debias' adds the concept's attributes; 'data' adds the training images of the concept, if it has any, and with
    them all others.
    """
    images = dataset.images("train") if task == "data" else ()
    own = tuple(image for image in images if image.concept == concept.id)
    classes = {
        concept.id: concept.display,
        concept.target.id: concept.target.display,
        **dataset.classes(concept.kind),  # the data set's own words for a class go before a concept's display
    }
    return Question(
        concept=concept.id,
        kind=concept.kind,
        display=concept.display,
        description=concept.description,
        target=concept.target,
        classes=classes,
        attributes=concept.attributes if task == "debias" else (),
        images=own,
        others=tuple(image for image in images if image.concept != concept.id) if own else (),
    )
