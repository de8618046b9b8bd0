"""The rules for a suite: what it names is there, and its own choice of concepts leaves something to compare."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from unlearnbench.lint.finding import Finding, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from unlearnbench.api import ConceptDataset
    from unlearnbench.plugins import Plugins
    from unlearnbench.spec import Suite


def unknown_concept(suite: Suite, dataset: ConceptDataset, plugins: Plugins) -> Iterator[Finding]:
    """Every id that the suite lists is a concept of its data set."""
    for field in ("forget", "evaluate", "sensitive"):
        for name in getattr(suite, field):
            if name not in dataset.concepts:
                yield _unknown(
                    "unknown-concept", f"{field} lists {name}, which {suite.dataset} lacks", name, dataset.concepts
                )


def nothing_retained(suite: Suite, dataset: ConceptDataset, plugins: Plugins) -> Iterator[Finding]:
    """Every forgotten concept leaves an evaluated one that is not in its overlaps; debiasing and data need none."""
    if suite.task not in ("erase", "moderate"):
        return
    for name in suite.forget:
        concept = dataset.concepts.get(name)
        if concept and not set(suite.evaluate) - {name, *concept.overlaps}:
            message = f"nothing that is evaluated counts as retained when {name} is forgotten"
            yield Finding(rule="nothing-retained", severity="warning", concept=name, message=message)


def unknown_plugin(suite: Suite, dataset: ConceptDataset, plugins: Plugins) -> Iterator[Finding]:
    """The judge and the set evaluator are installed, and so are the methods that have presets."""
    judges = {entry.spec.name for entry in plugins.evaluators}
    comparers = {entry.spec.name for entry in plugins.set_evaluators}
    if suite.set_evaluator is not None and suite.set_evaluator.name.rpartition("/")[2] not in comparers:
        name = suite.set_evaluator.name
        yield _unknown("unknown-plugin", f"the set evaluator {name} is not installed", name, comparers)
    if suite.evaluator.name.rpartition("/")[2] not in judges:
        yield _unknown(
            "unknown-plugin", f"the judge {suite.evaluator.name} is not installed", suite.evaluator.name, judges
        )
    methods = {entry.spec.name for entry in plugins.methods}
    for name in suite.presets:
        if name not in methods:
            found = _unknown("unknown-plugin", f"there is a preset of {name}, which is not installed", name, methods)
            yield found.model_copy(update={"severity": "warning"})


SUITE_RULES: dict[str, Callable[[Suite, ConceptDataset, Plugins], Iterator[Finding]]] = {
    "unknown-concept": unknown_concept,
    "nothing-retained": nothing_retained,
    "unknown-plugin": unknown_plugin,
}


def lint_suite(suite: Suite, dataset: ConceptDataset, plugins: Plugins) -> Report:
    """Apply every rule to a suite; its data set has rules of its own (`lint_dataset`)."""
    found = tuple(found for rule in SUITE_RULES.values() for found in rule(suite, dataset, plugins))
    return Report(kind="suite", name=suite.name, concepts=len(suite.evaluate), findings=found)


def _unknown(rule: str, message: str, name: str, known: Collection[str]) -> Finding:
    near = difflib.get_close_matches(name, list(known), n=1)
    return Finding(rule=rule, message=message + (f" (did you mean {near[0]}?)" if near else ""))
