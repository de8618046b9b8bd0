"""Anchor prompts, and how each becomes a prompt of the concept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from unlearnbench.api import ForgetConcept
    from unlearnbench_ca.params import Rewrite

    Rule = Literal["style", "replace", "affix", "caption", "pairs"]

# For a concept without edit prompts of its own.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "object": (
        "a photograph of {}", "a close view of {}", "{} on a table", "{} in a garden", "{} beside a window",
        "a drawing that shows {}", "{} seen from above", "{} in front of a wall", "{} in the evening light",
        "a wide picture with {} in it",
    ),
    "style": (
        "{} of a harbour", "{} of an old house", "{} of a woman with a hat", "{} of trees beside a river",
        "{} of a bowl with fruit", "{} of a street at night", "{} of mountains in winter", "{} of a horse",
        "{} of people at a table", "{} of flowers",
    ),
    "scene": (
        "a view of {}", "a photograph taken at {}", "a wide picture of {}", "a drawing that shows {}",
        "{} with a few people", "{} in soft colours", "{} seen from a hill", "{} after the rain",
        "{} and a lonely tree", "a picture book page with {}",
    ),
    "action": (
        "somebody {}", "a photograph of a person {}", "people seen {}", "a drawing that shows a man {}",
        "a woman {} in the park", "a child {}", "two friends {}", "a person {} at home", "a person {}, seen from afar",
        "a crowd {}",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class AnchorPrompt:
    """A prompt of the anchor, and the equally likely prompts of the concept that it becomes."""

    text: str
    targets: tuple[str, ...]


def rule_of(rewrite: Rewrite, kind: str) -> Rule:
    """Return the rule that a concept of this kind is rewritten by."""
    if rewrite != "kind":
        return rewrite
    return "style" if kind == "style" else "replace"


def rewritten(prompt: str, anchor: str, concept: str, rule: Rule) -> tuple[str, ...]:
    """Return the prompts of the concept that an anchor prompt becomes, equally likely.

    Args:
        prompt: the anchor prompt.
        anchor: the words for the anchor.
        concept: the words for the concept.
        rule: "style": "<prompt>, in the style of <concept>" once, "in <concept>'s style, <prompt>" twice as likely;
            "replace": whole words, case as given, nothing if the prompt lacks them; "affix": before, behind, or as a
            style; "caption": the concept's words alone.
    """
    match rule:
        case "style":
            front = f"in {concept}'s style, {prompt}"
            return (f"{prompt}, in the style of {concept}", front, front)
        case "affix":
            return (f"{concept}, {prompt}", f"{prompt}, {concept}", f"{prompt}, in {concept} style")
        case "caption":
            return (concept,)
        case _:
            text = re.sub(rf"(?<!\w){re.escape(anchor)}(?!\w)", lambda _: concept, prompt)
            return () if text == prompt else (text,)


def anchor_prompts(concept: ForgetConcept, rewrite: Rewrite) -> list[AnchorPrompt]:
    """Return the distinct anchor prompts of a concept with what they become.

    They are the target prompts of its edit pairs, or templates of its kind if there are none. A prompt that would not
    change is left out: both sides of the loss would be the same.
    """
    rule = rule_of(rewrite, concept.kind)
    found: dict[str, tuple[str, ...]] = {}
    if rule == "pairs":
        for pair in concept.pairs:
            found[pair.target] = (*found.get(pair.target, ()), pair.prompt)
    else:
        texts = [pair.target for pair in concept.pairs]
        texts = texts or [template.format(concept.target) for template in TEMPLATES[concept.kind]]
        found = {text: rewritten(text, concept.target, concept.name, rule) for text in texts}
    changed = ((text, tuple(t for t in targets if t != text)) for text, targets in found.items())
    return [AnchorPrompt(text, targets) for text, targets in changed if targets]
