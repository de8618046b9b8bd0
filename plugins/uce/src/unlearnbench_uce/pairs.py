"""What UCE is told to map onto what, and what to keep: prompts from a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import ForgetConcept, Request
    from unlearnbench_uce.params import EditWith, Retain

TEMPLATES: dict[str, tuple[str, ...]] = {
    "object": ("a photograph of {}", "a close view of {}", "a drawing that shows {}", "{} on a plain background"),
    "style": ("art in the manner of {}", "a canvas by {}", "a work that imitates {}", "{}, fine art"),
    "scene": ("a view of {}", "a photograph taken at {}", "a wide picture of {}", "a drawing that shows {}"),
    "action": ("somebody {}", "a photograph of a person {}", "people seen {}", "a drawing that shows {}"),
}


def edit_pairs(
    concepts: Sequence[ForgetConcept], *, edit_with: EditWith, aliases: bool, expand_prompts: bool, guide: str
) -> list[tuple[str, str]]:
    """Return the distinct (edit prompt, guide prompt) pairs of all concepts.

    Args:
        concepts: what to forget.
        edit_with: "name": the bare name and the words of its target; "pairs": the edit prompts and their targets.
        aliases: map the aliases onto the target as well.
        expand_prompts: add every name inside the templates of its kind; an empty guide stays empty.
        guide: "target" or the words that take the place of every target.
    """
    rows: list[tuple[str, str]] = []
    for concept in concepts:
        if edit_with == "pairs":
            rows += [(pair.prompt, pair.target if guide == "target" else guide) for pair in concept.pairs]
            continue
        words = concept.target if guide == "target" else guide
        templates = ("{}", *(TEMPLATES[concept.kind] if expand_prompts else ()))
        for name in (concept.name, *(concept.aliases if aliases else ())):
            rows += [(text.format(name), text.format(words) if words.strip() else "") for text in templates]
    return list(dict.fromkeys(rows))


def preserved(request: Request, retain: Retain, *, empty: bool, edited: Sequence[str]) -> tuple[str, ...]:
    """Return the distinct prompts to preserve, without those that are edited.

    Args:
        request: its retain prompts or names are used.
        retain: which of them.
        empty: preserve the empty prompt as well.
        edited: edit prompts; a prompt cannot be both erased and kept, whatever its case.
    """
    words = {"none": (), "names": request.retain_names, "prompts": request.retain}[retain]
    taken = {_fold(prompt) for prompt in edited}
    kept = [prompt for prompt in words if _fold(prompt) not in taken]
    return tuple(dict.fromkeys([*([""] if empty else []), *kept]))


def _fold(prompt: str) -> str:
    return " ".join(prompt.split()).casefold()
