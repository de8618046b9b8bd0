"""What a judge is asked: a bank of questions by concept kind, and templates of a user's own."""

from __future__ import annotations

from string import Formatter
from typing import TYPE_CHECKING

from unlearnbench.api import Frozen

if TYPE_CHECKING:
    from unlearnbench.api import Question

ENDING = " Answer with 'yes' or 'no'."
PLACES = ("description", "display", "concept")
NAMED = ("show", "kind")


class Form(Frozen):
    """A question and its opposite, to which the right answer is the other one."""

    asked: str
    opposite: str


SHOW = Form(
    asked="Does this image show {description}?",
    opposite="Does this image fail to show {description}?",
)
BY_KIND = {
    "style": Form(
        asked="Does this image look like {description}?",
        opposite="Does this image fail to look like {description}?",
    ),
    "scene": Form(
        asked="Does this image depict {description}?",
        opposite="Does this image fail to depict {description}?",
    ),
    "action": Form(
        asked="Is there {description} in this image?",
        opposite="Is this image one without {description}?",
    ),
}


def has_one_place(question: str) -> str:
    """Return a question's name or template as it is.

    Raises:
        ValueError: it is neither a name of `NAMED` nor a text with one place for words.
    """
    if question in NAMED:
        return question
    parts = [part for part in Formatter().parse(question) if part[1] is not None]
    if len(parts) != 1 or parts[0][1] not in PLACES or parts[0][2] or parts[0][3]:
        places = ", ".join(f"{{{place}}}" for place in PLACES)
        raise ValueError(f"needs to be {' or '.join(NAMED)}, or a text with exactly one of {places}")
    return question


def texts(name: str, question: Question, *, opposite: bool) -> list[str]:
    """Return what is asked about one concept: the question, then its opposite if that is wanted.

    Args:
        name: "show" asks the same form of every kind; "kind" the form of the concept's kind, and of a kind without a
            form of its own that of "show"; anything else is the question itself, with one place for words.
        question: the concept.
        opposite: whether the opposite is asked too; a question of the user's own has none.
    """
    words = {"description": question.description, "display": question.display, "concept": question.concept}
    if name not in NAMED:
        return [name.format(**words)]
    form = SHOW if name == "show" else BY_KIND.get(question.kind, SHOW)
    chosen = [form.asked, form.opposite] if opposite else [form.asked]
    return [text.format(**words) + ENDING for text in chosen]
