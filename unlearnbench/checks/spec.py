"""Checks of every plugin: what it registers, its parameters, and that listing it stays light."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from unlearnbench.api import ConceptDataset, Evaluator, Method, Params, SetEvaluator
from unlearnbench.checks.outcome import Failed, Skipped, demand
from unlearnbench.checks.run import Check
from unlearnbench.identity import canonical_json
from unlearnbench.plugins import load_plugins
from unlearnbench.run.plan import CONTROLS

if TYPE_CHECKING:
    from unlearnbench.checks.subject import Subject

HEAVY = ("torch", "diffusers", "transformers", "tensorflow", "jax")
BASES = {"method": Method, "evaluator": Evaluator, "set_evaluator": SetEvaluator, "dataset": ConceptDataset}
SOURCE = re.compile(r"\b(?:19|20)\d\d\b|arxiv:\s*\d{4}\.\d{4,5}|\bdoi\b|https?://", re.IGNORECASE)
_SCRIPT = """
import importlib, json, sys
search, heavy, targets = json.loads(sys.argv[1])
sys.path[:0] = search
for module, name, call in targets:
    found = importlib.import_module(module)
    if call:
        list(getattr(getattr(found, name)(), "concepts", ()))
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


def check_import_is_light(subject: Subject) -> None:
    """Are the module of the entry point and the parameters (of a data set: all of it) imported without torch?"""
    targets = [(subject.entry.plugin.module.partition(":")[0], "", False)]
    if subject.kind == "dataset":
        module, _, name = subject.spec.target.partition(":")
        targets.append((module, name, True))
    else:
        targets.append((_params_path(subject).partition(":")[0], "", False))
    heavy = in_new_python(subject, _SCRIPT, list(HEAVY), targets)
    demand(not heavy, f"importing it loads {', '.join(heavy)}: import them in the module of the target, or inside it")


def in_new_python(subject: Subject, script: str, *arguments: Any) -> Any:
    """Run a script in a new interpreter and return the JSON of its last line.

    Raises:
        Failed: the script ends with an error.
    """
    command = [sys.executable, "-c", script, json.dumps([list(subject.search), *arguments])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"in a new python: {(done.stderr.strip().splitlines() or ['it ended'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def check_name(subject: Subject) -> None:
    """Is the name one that no control of a board has, and that no other installed plugin claims?"""
    name = subject.spec.name
    demand(name not in CONTROLS, f"'{name}' is a control of every board: choose another name")
    registry = load_plugins().registry(f"{subject.kind}s")
    own = subject.entry.plugin.distribution
    others = sorted({e.plugin.distribution for e in registry if e.spec.name == name} - {own})
    demand(not others, f"{' and '.join(others)} has a {subject.kind} of that name: choose another one")


def check_summary(subject: Subject) -> None:
    """Is there a summary of one line that fits a table?"""
    summary = subject.spec.summary
    demand(len(summary.split()) >= 2, "the summary of its spec says nothing: write a few words")
    demand("\n" not in summary and len(summary) <= 120, "the summary of its spec is longer than a line of 120 letters")


def check_target(subject: Subject) -> None:
    """Does the target name a class of the right kind, and its `params_type` the parameters of the spec?"""
    target, base = subject.entry.load(), BASES[subject.kind]
    if subject.kind == "dataset":
        demand(isinstance(subject.make(), base), f"calling the target must return a {base.__name__}")
        return
    demand(isinstance(target, type) and issubclass(target, base), f"the target must be a subclass of {base.__name__}")
    left = sorted(getattr(target, "__abstractmethods__", ()))
    demand(not left, f"{target.__name__} lacks {', '.join(left)}")
    found = getattr(target, "params_type", None)
    demand(found is subject.entry.load_params(), f"{target.__name__}.params_type is not {_params_path(subject)}")


def check_source_is_named(subject: Subject) -> None:
    """Does the docstring of the class name its source: a paper with its year, an arXiv id, a DOI or a URL?"""
    if getattr(subject.spec, "control", False):
        raise Skipped("a control is no paper's method")
    target = subject.entry.load()
    text = inspect.getdoc(target) or ""
    demand(text, f"{target.__name__} has no docstring: say what it does, and name the paper")
    demand(
        SOURCE.search(text), f"the docstring of {target.__name__} names no paper with its year, arXiv id, DOI or URL"
    )


# ---------------------------------------------------------------- parameters
def check_parameters_are_a_params_class(subject: Subject) -> None:
    """Are the parameters a subclass of `unlearnbench.api.Params`, frozen as that is?"""
    found = subject.entry.load_params()
    demand(isinstance(found, type) and issubclass(found, Params), "the spec's `params` must name a subclass of Params")
    demand(found.model_config.get("frozen"), f"{found.__name__} is not frozen: leave `frozen=True` of Params as it is")


def check_parameters_are_typed(subject: Subject) -> None:
    """Has every parameter a type that a schema can express, down to the items of lists?"""
    bad = [name for name, about in _properties(subject).items() if not _typed(about)]
    demand(not bad, f"no type, or one that says nothing (Any, list, dict): {', '.join(bad)}")


def check_parameters_are_bounded(subject: Subject) -> None:
    """Has every number a least and a greatest value?"""
    bad = [name for name, about in _properties(subject).items() if not _bounded(about)]
    demand(not bad, f"a number without both bounds (ge or gt, and le or lt): {', '.join(bad)}")


def check_parameters_are_described(subject: Subject) -> None:
    """Has every parameter a description of at least two words?"""
    fields = _params(subject).model_fields.items()
    bad = [name for name, field in fields if len((field.description or "").split()) < 2]
    demand(not bad, f"no description: {', '.join(bad)}")


def check_parameters_have_defaults(subject: Subject) -> None:
    """Has every parameter a default that its own bounds allow?"""
    params_type = _params(subject)
    required = [name for name, field in params_type.model_fields.items() if field.is_required()]
    demand(not required, f"no default: {', '.join(required)}")
    try:
        params_type.model_validate(params_type().model_dump())
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the defaults together"
        raise Failed(f"its own rules refuse the default of {where}: {error.errors()[0]['msg']}") from error


def check_parameters_survive_json(subject: Subject) -> None:
    """Are the parameters equal after a way through JSON, and can they enter a key?"""
    params = subject.params()
    again = type(params).model_validate_json(params.model_dump_json())
    lost = [name for name in type(params).model_fields if getattr(again, name) != getattr(params, name)]
    demand(not lost, f"not equal after a way through JSON: {', '.join(lost)}")
    canonical_json(params)


def check_parameters_refuse_unknown_fields(subject: Subject) -> None:
    """Is a misspelt parameter refused?"""
    params_type = _params(subject)
    try:
        params_type.model_validate({**subject.given, "no_such_parameter": 1})
    except ValidationError as error:
        if any(found["type"] == "extra_forbidden" for found in error.errors()):
            return
    raise Failed(f"{params_type.__name__} takes a parameter that it does not have: leave `extra='forbid'` of Params")


def _params_path(subject: Subject) -> str:
    return str(getattr(subject.spec, "params", ""))


def _params(subject: Subject) -> type[Params]:
    found: type[Params] = subject.entry.load_params()
    return found


def _properties(subject: Subject) -> dict[str, Any]:
    """Return the JSON schema of every parameter, references resolved."""
    schema = _params(subject).model_json_schema()
    definitions = schema.get("$defs", {})

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(v) for v in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return resolved(definitions[value["$ref"].rpartition("/")[2]])
        return {k: resolved(v) for k, v in value.items()}

    return {name: resolved(about) for name, about in schema.get("properties", {}).items()}


def _parts(about: dict[str, Any]) -> list[Any]:
    """Return the schemas inside a schema: alternatives, items, fields."""
    inside = [*about.get("anyOf", ()), *about.get("allOf", ()), *about.get("oneOf", ()), *about.get("prefixItems", ())]
    inside += [about[key] for key in ("items", "additionalProperties") if isinstance(about.get(key), dict)]
    return [*inside, *about.get("properties", {}).values(), *about.get("patternProperties", {}).values()]


def _typed(about: dict[str, Any]) -> bool:
    if "enum" in about or "const" in about:
        return True
    inside = _parts(about)
    if about.get("type") in ("array", "object") and not inside:
        return False
    return ("type" in about or bool(inside)) and all(_typed(part) for part in inside)


def _bounded(about: dict[str, Any]) -> bool:
    if about.get("type") in ("integer", "number") and "enum" not in about:
        low, high = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
        return bool(low & about.keys()) and bool(high & about.keys())
    return all(_bounded(part) for part in _parts(about))


# ---------------------------------------------------------------- which of them
DATASET_SPEC = (Check(check_import_is_light), Check(check_name), Check(check_summary), Check(check_target))
_CLASS = (check_parameters_are_a_params_class,)
SPEC = (
    Check(check_import_is_light),
    Check(check_name),
    Check(check_summary),
    Check(check_target, _CLASS),
    Check(check_source_is_named, (check_target,)),
    Check(check_parameters_are_a_params_class),
    Check(check_parameters_are_typed, _CLASS),
    Check(check_parameters_are_bounded, _CLASS),
    Check(check_parameters_are_described, _CLASS),
    Check(check_parameters_have_defaults, _CLASS),
    Check(check_parameters_survive_json, (*_CLASS, check_parameters_have_defaults)),
    Check(check_parameters_refuse_unknown_fields, _CLASS),
)
