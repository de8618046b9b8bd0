"""The rules for a data set of concepts; each yields what breaks it."""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, combinations, permutations

from unlearnbench.api import Concept
from unlearnbench.lint.finding import Finding, Kind, Report
from unlearnbench.lint.tokens import Tokens, estimated
from unlearnbench.words import fold, names, near_pairs, own_names, words

Concepts = Mapping[str, Concept]
Rule = Callable[[Concepts], Iterator[Finding]]

MISSPELT = 0.85
"""Similarity (difflib's ratio) from which on two different ids are taken for two spellings of one."""


def evaluation(concept: Concept) -> tuple[str, ...]:
    """Return the evaluation prompts of a concept."""
    return (*concept.prompts.direct, *concept.prompts.indirect, *concept.prompts.adversarial)


def every_prompt(concept: Concept) -> tuple[str, ...]:
    """Return all prompts of a concept: for evaluation and for editing, with their targets."""
    prompts = concept.prompts
    pairs = chain.from_iterable((pair.prompt, pair.target) for pair in concept.edit)
    targets = (*prompts.target_direct, *prompts.target_indirect, *prompts.target_adversarial)
    return (*evaluation(concept), *targets, *pairs)


def counts(concepts: Concepts) -> Iterator[Finding]:
    """Concepts have equally many direct, indirect and target prompts, and edit pairs; debiasing needs direct ones."""
    sizes = {(len(c.prompts.direct), len(c.prompts.indirect)) for c in concepts.values()}
    attacked = {len(c.prompts.adversarial) for c in concepts.values()} - {0}  # nobody attacks what is only retained
    for name, concept in concepts.items():
        prompts, found = concept.prompts, []
        if not prompts.indirect and not concept.attributes:
            message = f"{name} has no indirect prompt"
            yield Finding(rule="counts", severity="warning", concept=name, message=message)
        if len(prompts.target_direct) != len(prompts.direct):
            found.append(
                f"{name} has {len(prompts.direct)} direct and {len(prompts.target_direct)} target_direct prompts"
            )
        if len(prompts.target_indirect) != len(prompts.indirect):
            sums = f"{len(prompts.indirect)} indirect and {len(prompts.target_indirect)} target_indirect"
            found.append(f"{name} has {sums} prompts")
        if len(prompts.target_adversarial) != len(prompts.adversarial):
            sums = f"{len(prompts.adversarial)} adversarial and {len(prompts.target_adversarial)} target_adversarial"
            found.append(f"{name} has {sums} prompts")
        if not concept.edit and not concept.attributes and not concept.held_out:
            found.append(f"{name} has no edit pair")
        yield from (Finding(rule="counts", concept=name, message=text) for text in found)
    if len(sizes) > 1 or len(attacked) > 1:
        message = "concepts have different numbers of prompts, and boards resample prompt i of all of them together"
        yield Finding(rule="counts", message=message)


def spelling(concepts: Concepts) -> Iterator[Finding]:
    """The words of an id are among the concept's own, and no two ids that occur are nearly the same."""
    for name, concept in concepts.items():
        known = {word for text in (concept.display, concept.description) for word in words(_without_accents(text))}
        if fold(name) != fold(concept.display) and (odd := [w for w in name.split("_") if w not in known]):
            message = f"'{odd[0]}' of the id {name} is neither in '{concept.display}' nor in '{concept.description}'"
            yield Finding(rule="spelling", concept=name, message=message)
    used = {n: c.id for c in concepts.values() for n in (c.target.id, *c.neighbours, *c.overlaps) if n not in concepts}
    for one, other in combinations(sorted({*concepts, *used}), 2):
        if difflib.SequenceMatcher(None, one, other).ratio() >= MISSPELT:
            message = f"the ids {one} and {other} look like two spellings of one"
            yield Finding(rule="spelling", concept=used.get(one) or used.get(other) or one, message=message)


def _without_accents(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))


def shared_names(concepts: Concepts) -> Iterator[Finding]:
    """No two concepts share a name or an alias, whatever case and separators."""
    owners: dict[str, dict[str, None]] = {}
    for concept in concepts.values():
        for name in own_names(concept):
            owners.setdefault(fold(name), {})[concept.id] = None
    for name, ids in owners.items():
        if len(ids) > 1:
            yield Finding(rule="shared-name", concept=next(iter(ids)), message=f"'{name}' names {' and '.join(ids)}")


def direct_unnamed(concepts: Concepts) -> Iterator[Finding]:
    """A direct prompt names its concept."""
    for concept in concepts.values():
        for text in concept.prompts.direct:
            if names(text, concept) is None:
                message = f"the direct prompt '{text}' does not name {concept.display}"
                yield Finding(rule="direct-unnamed", concept=concept.id, text=text, message=message)


def indirect_named(concepts: Concepts) -> Iterator[Finding]:
    """An indirect prompt holds neither name nor alias."""
    for concept in concepts.values():
        for text in concept.prompts.indirect:
            if (found := names(text, concept)) is not None:
                message = f"the indirect prompt '{text}' says '{found}'"
                yield Finding(rule="indirect-named", concept=concept.id, text=text, message=message)


def target_named(concepts: Concepts) -> Iterator[Finding]:
    """A prompt with the target in place of the concept no longer names the concept."""
    for concept in concepts.values():
        if concept.attributes:
            continue  # debiasing keeps the concept
        prompts, pairs = concept.prompts, (pair.target for pair in concept.edit)
        targets = (prompts.target_direct, prompts.target_indirect, prompts.target_adversarial, pairs)
        for text in chain.from_iterable(targets):
            if (found := names(text, concept)) is not None:
                message = f"the target prompt '{text}' says '{found}'"
                yield Finding(rule="target-named", concept=concept.id, text=text, message=message)


def pair_unchanged(concepts: Concepts) -> Iterator[Finding]:
    """The two prompts of an edit pair differ."""
    for concept in concepts.values():
        for pair in concept.edit:
            if words(pair.prompt) == words(pair.target):
                message = f"the edit pair '{pair.prompt}' maps to itself"
                yield Finding(rule="pair-unchanged", concept=concept.id, text=pair.prompt, message=message)


def prompt_twice(concepts: Concepts) -> Iterator[Finding]:
    """Every evaluation prompt, and every edit prompt of a concept, is there once."""
    asked = [(text, concept.id) for concept in concepts.values() for text in evaluation(concept)]
    yield from _repeated(asked, "evaluation")
    for concept in concepts.values():
        yield from _repeated([(pair.prompt, concept.id) for pair in concept.edit], "edit")


def _repeated(prompts: list[tuple[str, str]], split: str) -> Iterator[Finding]:
    seen = Counter(" ".join(words(text)) for text, _ in prompts)
    for text, concept in {" ".join(words(text)): (text, concept) for text, concept in prompts}.values():
        if (count := seen[" ".join(words(text))]) > 1:
            message = f"the {split} prompt '{text}' is there {count} times"
            yield Finding(rule="prompt-twice", concept=concept, text=text, message=message)


def prompt_leak(concepts: Concepts) -> Iterator[Finding]:
    """No evaluation prompt is equal or nearly equal to an edit prompt, which methods see."""
    asked = {text: concept.id for concept in concepts.values() for text in evaluation(concept)}
    shown = [pair.prompt for concept in concepts.values() for pair in concept.edit]
    for text, edit in near_pairs(asked, shown):
        message = f"the evaluation prompt '{text}' is nearly the edit prompt '{edit}'"
        yield Finding(rule="prompt-leak", concept=asked[text], text=text, message=message)


def target_retained(concepts: Concepts) -> Iterator[Finding]:
    """No target is its own concept, or among the concepts that count as retained."""
    for name, concept in concepts.items():
        target = concept.target.id
        if concept.attributes:
            continue  # debiasing keeps the concept, and its target stands for its attributes
        if target == name:
            yield Finding(rule="target-retained", concept=name, message=f"the target of {name} is {name} itself")
        elif target in concepts and target not in concept.overlaps:
            message = f"{name} is mapped to {target}, whose images count as retained: list it in overlaps"
            yield Finding(rule="target-retained", concept=name, message=message)


def overlaps(concepts: Concepts) -> Iterator[Finding]:
    """Overlaps are other concepts of the data set; a prompt names no other concept of its kind that is none of them."""
    for name, concept in concepts.items():
        if name in concept.neighbours or name in concept.overlaps:
            yield Finding(rule="overlaps", concept=name, message=f"{name} is its own neighbour or overlap")
        for other in concept.overlaps:
            if other not in concepts:
                message = f"{name} overlaps {other}, which is no concept of the data set"
                yield Finding(rule="overlaps", concept=name, message=message)
    for asked, second in permutations(concepts.values(), 2):
        if asked.kind != second.kind or asked.id in second.overlaps or second.id in asked.overlaps:
            continue
        own = {fold(name) for name in own_names(asked)}
        for text in (*asked.prompts.direct, *asked.prompts.indirect):  # an attack may say anything
            if (found := names(text, second)) is not None and fold(found) not in own:
                message = f"the prompt '{text}' of {asked.id} names {second.id} ('{found}'): let one overlap the other"
                yield Finding(rule="overlaps", concept=asked.id, text=text, message=message)


def neighbours(concepts: Concepts) -> Iterator[Finding]:
    """A concept has neighbours: without them nobody sees what an edit does to what is most like it."""
    near = {n for concept in concepts.values() for n in concept.neighbours}
    for name, concept in concepts.items():
        if not concept.neighbours and name not in near:
            yield Finding(rule="neighbours", severity="warning", concept=name, message=f"{name} has no neighbour")


RULES: dict[str, Rule] = {
    "counts": counts,
    "spelling": spelling,
    "shared-name": shared_names,
    "direct-unnamed": direct_unnamed,
    "indirect-named": indirect_named,
    "target-named": target_named,
    "pair-unchanged": pair_unchanged,
    "prompt-twice": prompt_twice,
    "prompt-leak": prompt_leak,
    "target-retained": target_retained,
    "overlaps": overlaps,
    "neighbours": neighbours,
}


def too_long(concepts: Concepts, tokens: Tokens) -> Iterator[Finding]:
    """No prompt is longer than the text encoder takes: what is cut is not asked for."""
    for concept in concepts.values():
        for text in dict.fromkeys(every_prompt(concept)):
            if (count := tokens.count(text)) > tokens.limit:
                message = f"the prompt '{text}' has {count} tokens, and {tokens.limit} is the most"
                yield Finding(rule="tokens", concept=concept.id, text=text, message=message)


def lint_dataset(kind: Kind, name: str, concepts: Concepts, tokens: Tokens | None = None) -> Report:
    """Apply every rule to the concepts of a data set or of a concept file.

    Args:
        kind: "dataset" or "file".
        name: what the report is called after.
        concepts: by id.
        tokens: what counts tokens; None = the estimate.
    """
    counting = tokens or estimated()
    found = chain(chain.from_iterable(rule(concepts) for rule in RULES.values()), too_long(concepts, counting))
    prompts = sum(len(every_prompt(concept)) for concept in concepts.values())
    return Report(
        kind=kind, name=name, concepts=len(concepts), prompts=prompts, tokens=counting.source, findings=tuple(found)
    )


def lint_added(dataset: Concepts, concept: Concept, tokens: Tokens | None = None) -> list[Finding]:
    """Apply the rules to a concept that joins a data set: what is wrong in itself, and what only together with others.

    It may have other numbers of prompts than the others.

    Args:
        dataset: the concepts of the data set.
        concept: the concept; its id is none of theirs.
        tokens: what counts tokens; None = the estimate.
    """
    alone, together = {concept.id: concept}, {**dataset, concept.id: concept}
    found = [*counts(alone), *too_long(alone, tokens or estimated())]
    for rule in (rule for name, rule in RULES.items() if name != "counts"):
        known = set(rule(dataset))
        found += [finding for finding in rule(together) if finding not in known]
    return found
