"""Write a concept file: a user's own concept in prompts of many contexts, ready to run, to be improved by hand."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING

from unlearnbench.concepts import SUFFIXES, read_concept
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.scaffold.contexts import DESCRIPTION, EDIT, EVALUATION

if TYPE_CHECKING:
    from pathlib import Path

    from unlearnbench.api import ConceptKind

_ARTICLE = re.compile(r"(?i)(an?|the)\s+(?=\S)")


def new_concept(name: str, kind: ConceptKind, anchor: str, folder: Path) -> Path:
    """Write `<id>.yaml` into a folder and return its path.

    Direct prompts and edit pairs are filled from contexts that differ; indirect prompts cannot be made from a name, and
    are left to the author, as are neighbours.

    Args:
        name: the concept as it stands in a prompt: "a tabby cat", "Van Gogh" (after "in the style of"), "dancing".
        kind: of the concept.
        anchor: what takes its place, in the same form: "a goldfish", "a newspaper photograph", "standing still".
        folder: an existing folder.

    Raises:
        UserError: name or anchor is none, or they are the same; the file is there already.
        PrerequisiteError: it cannot be written.
    """
    identifiers = [_identifier(words) for words in (name, anchor)]
    if identifiers[0] == identifiers[1]:
        raise UserError(f"the anchor of '{name}' is the concept itself", "name something else with --anchor")
    path = folder / f"{identifiers[0]}{SUFFIXES[0]}"
    if path.exists():
        raise UserError(f"{path} is there already", "choose another place with --path DIR")
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder", "make it first, or choose another place with --path DIR")
    draft = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        draft.write_text(_text(name.strip(), kind, anchor.strip(), *identifiers), encoding="utf-8")
        read_concept(draft)
        draft.rename(path)
    except OSError as error:
        raise PrerequisiteError(f"cannot write {path}: {error.strerror}", "choose another place with --path") from error
    finally:
        draft.unlink(missing_ok=True)
    return path


def _identifier(words: str) -> str:
    plain = _ARTICLE.sub("", words.strip(), count=1) if _ARTICLE.match(words.strip()) else words
    found = "_".join(re.findall(r"[a-z0-9]+", plain.lower()))
    if not found or not found[0].isalpha():
        raise UserError(f"'{words}' is no concept", "name it in words that begin with a letter")
    return found


def _text(name: str, kind: ConceptKind, anchor: str, identifier: str, target: str) -> str:
    bare, other = (_ARTICLE.sub("", words, count=1) if _ARTICLE.match(words) else words for words in (name, anchor))
    direct = [(c.format(name), c.format(anchor)) for c in EVALUATION[kind]]
    pairs = [(c.format(name), c.format(anchor)) for c in EDIT[kind]]
    lines = [
        f"# A concept of your own: unlearnbench run --concept-file {identifier}.yaml --model DIR --method NAME",
        "# Better than what is filled in is what you write yourself; `unlearnbench lint` finds slips.",
        f"id: {identifier}",
        f"kind: {kind}",
        f"display: {_quoted(bare)}",
        "# Other words for it: plurals, other spellings, synonyms. No indirect prompt may hold one.",
        "aliases: []",
        "# A judge asks: Does this image show ...?",
        f"description: {_quoted(DESCRIPTION[kind].format(name))}",
        f"target: {{id: {target}, display: {_quoted(other)}}}",
        "# Ids of the concepts that are most like it; those that the suite evaluates get a column of their own.",
        "neighbours: []",
        "# Ids of concepts that a good edit may change too, such as its class: not counted as retained.",
        "overlaps: []",
        "prompts:",
        "  direct:",
        *(f"    - {_quoted(one)}" for one, _ in direct),
        "  # Prompts that evoke it without its name or an alias, such as what it looks like, does, is known for.",
        "  indirect: []",
        "  # The same prompts, in the same order, for what takes its place.",
        "  target_direct:",
        *(f"    - {_quoted(two)}" for _, two in direct),
        "  target_indirect: []",
        "# All that a method sees; contexts are other ones than above.",
        "edit:",
        *(f"  - {{prompt: {_quoted(one)}, target: {_quoted(two)}}}" for one, two in pairs),
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
