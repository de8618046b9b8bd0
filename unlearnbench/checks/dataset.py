"""Checks of data sets: concepts that can be told apart, prompts that nobody trained on, a version that pins them."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, get_args

from unlearnbench.api import Concept, ConceptDataset, ConceptKind
from unlearnbench.checks.outcome import demand
from unlearnbench.checks.run import Check
from unlearnbench.checks.spec import DATASET_SPEC, check_target
from unlearnbench.identity import digest
from unlearnbench.lint import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from unlearnbench.checks.subject import Subject


def check_ids_are_stable(subject: Subject) -> None:
    """Does loading it twice give the same concepts in the same order, each under its own id?"""
    first, second = subject.make().concepts, subject.make().concepts
    demand(first, "there is no concept")
    odd = [name for name, concept in first.items() if not isinstance(concept, Concept)]
    demand(not odd, f"no Concept: {', '.join(odd)}")
    wrong = [f"{concept.id} under {name}" for name, concept in first.items() if concept.id != name]
    demand(not wrong, f"ids and keys differ: {', '.join(wrong)}")
    demand(list(first) == list(second), "the order of the concepts is another one each time it is loaded")
    demand(dict(first) == dict(second), "the concepts are other ones each time they are loaded")


def check_names_are_unique(subject: Subject) -> None:
    """Do no two concepts share a name or an alias, whatever case and separators?"""
    _lint(subject, "shared-name")


def check_concepts_are_complete(subject: Subject) -> None:
    """Has every concept direct, indirect, target and edit prompts, as many as every other?"""
    _lint(subject, "counts")


def check_references(subject: Subject) -> None:
    """Do targets, neighbours and overlaps leave a retain set that can be retained?"""
    _lint(subject, "target-retained", "overlaps")


def check_prompts_are_unique(subject: Subject) -> None:
    """Is every evaluation prompt, and every edit prompt of a concept, there once?"""
    _lint(subject, "prompt-twice")


def check_splits_are_disjoint(subject: Subject) -> None:
    """Is no evaluation prompt equal or nearly equal to an edit prompt, which methods see?"""
    _lint(subject, "prompt-leak")


def check_prompts_say_what_they_should(subject: Subject) -> None:
    """Do direct prompts name the concept, and indirect and target prompts not?"""
    _lint(subject, "direct-unnamed", "indirect-named", "target-named", "pair-unchanged")


def check_classes_can_be_told_apart(subject: Subject) -> None:
    """Are there classes for every kind of concept, with the concepts among them and no words twice?"""
    dataset, concepts = subject.make(), _concepts(subject)
    for kind in get_args(ConceptKind):
        own = [name for name, concept in concepts.items() if concept.kind == kind]
        if not own:
            continue
        classes = dataset.classes(kind)
        missing = [name for name in own if name not in classes]
        demand(not missing, f"classes('{kind}') lacks {', '.join(missing[:3])}")
        counts = Counter(text.casefold().strip() for text in classes.values())
        _none((f"'{text}'" for text, count in counts.items() if count > 1), f"classes('{kind}') with the same words")


def check_licence(subject: Subject) -> None:
    """Does the spec name the licence of the data?"""
    demand(
        str(getattr(subject.spec, "licence", "")).strip(), "the spec's `licence` is empty: name it, such as CC-BY-4.0"
    )


def check_content_warning(subject: Subject) -> None:
    """Does the spec say what in prompts or pictures may disturb, or 'none'?"""
    demand(
        str(getattr(subject.spec, "warning", "")).strip(),
        "the spec's `warning` is empty: say what may disturb, or 'none'",
    )


def check_version_pins_content(subject: Subject) -> None:
    """Is the digest in the spec that of the content, so that a change of a prompt needs a new version?"""
    spec = subject.spec
    found, pinned = content_digest(subject.make()), str(getattr(spec, "digest", ""))
    version = getattr(spec, "version", "")
    advice = f'let the spec say digest="{found}"'
    demand(pinned, f"the spec pins no content: {advice}")
    demand(pinned == found, f"the content is not that of version {version}: raise `version`, and {advice}")


def content_digest(dataset: ConceptDataset) -> str:
    """Return the tagged digest of all concepts, in order, and of the classes of their kinds."""
    concepts = dataset.concepts
    kinds = sorted({concept.kind for concept in concepts.values()})
    return digest(
        {
            "concepts": [concept.model_dump(mode="json") for concept in concepts.values()],
            "classes": {kind: dict(dataset.classes(kind)) for kind in kinds},
        }
    )


def _concepts(subject: Subject) -> Mapping[str, Concept]:
    found: Mapping[str, Concept] = subject.make().concepts
    return found


def _lint(subject: Subject, *rules: str) -> None:
    """Apply rules of `unlearnbench lint`."""
    concepts = _concepts(subject)
    _none(str(found) for rule in rules for found in RULES[rule](concepts))


def _none(problems: Iterable[str], what: str = "") -> None:
    """Fail with the first few problems, if there are any."""
    found = list(islice(problems, 4))
    more = ", ..." if len(found) > 3 else ""
    demand(not found, f"{what}: {', '.join(found[:3])}{more}" if what else f"{'; '.join(found[:3])}{more}")


_MAKE = (check_target, check_ids_are_stable)
CHECKS = (
    *DATASET_SPEC,
    Check(check_ids_are_stable, (check_target,)),
    Check(check_names_are_unique, _MAKE),
    Check(check_concepts_are_complete, _MAKE),
    Check(check_references, _MAKE),
    Check(check_prompts_are_unique, _MAKE),
    Check(check_splits_are_disjoint, _MAKE),
    Check(check_prompts_say_what_they_should, _MAKE),
    Check(check_classes_can_be_told_apart, _MAKE),
    Check(check_licence),
    Check(check_content_warning),
    Check(check_version_pins_content, _MAKE),
)
