"""Read suite files, and narrow a suite to what a command line asks for."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from unlearnbench.errors import UserError
from unlearnbench.plugins import Plugins, unknown
from unlearnbench.spec import Suite

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from unlearnbench.api import Concept, ConceptDataset
    from unlearnbench.spec import Ref, Several

DEFAULT_SUITE = "emoji-quick"
OWN_CONCEPT_SUITE = "own-concept"  # of `run --concept-file`: what a user's concept is evaluated beside


def load_suite(plugins: Plugins, name: str) -> Suite:
    """Return the suite called `name`, or the one in the TOML file of that path.

    Raises:
        UserError: there is no such suite, or its file is wrong.
    """
    if name.endswith(".toml"):
        return read_suite(Path(name))
    return read_suite(plugins.suites.get(name).spec.path)


def read_suite(path: Path) -> Suite:
    """Read one suite file.

    Raises:
        UserError: the file cannot be read, is no TOML, or does not fit the schema.
    """
    try:
        return Suite.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"suite file {path}: {error.strerror}", "type `unlearnbench list suites` to see all") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"suite file {path} is no TOML: {error}", "mend that line and run again") from error
    except ValidationError as error:
        raise UserError(f"suite file {path}: {explain(error, Suite.model_fields)}", "mend it and run again") from error


def explain(error: ValidationError, fields: Collection[str] = ()) -> str:
    """Say in one line what a validation found first: where, what, and the nearest field name for a misspelt one."""
    errors = error.errors(include_url=False)
    # A misspelt field is an unknown one and a missing one: the first says more.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), list(fields), n=1, cutoff=0.5)
        return f"unknown field '{where}'" + (f" (did you mean '{near[0]}'?)" if near else "")
    if first["type"] == "missing":
        return f"field '{where}' is missing"
    got = f", got {first['input']!r}" if isinstance(first["input"], str | int | float | bool) else ""
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}{got}" if where else message


def narrow(
    suite: Suite,
    dataset: ConceptDataset,
    concepts: Sequence[str],
    seeds: Sequence[int],
    several: Several | None = None,
) -> Suite:
    """Return the suite with only the given concepts to forget, and only the given sampling seeds.

    Args:
        suite: the suite.
        dataset: its data set.
        concepts: ids, display names or aliases; none = all of the suite.
        seeds: sampling seeds; none = those of the suite.
        several: how several concepts are forgotten; None = as the suite says.

    Raises:
        UserError: a concept is not in the data set.
    """
    changes: dict[str, object] = {}
    if concepts:
        forget = tuple(dict.fromkeys(find_concept(dataset, c).id for c in concepts))
        changes = {"forget": forget, "evaluate": tuple(dict.fromkeys((*suite.evaluate, *forget)))}
    if several is not None:
        changes["several"] = several
    if seeds:
        changes["seeds"] = tuple(dict.fromkeys(seeds))
        if suite.retain.seed is not None and suite.retain.seed not in seeds:
            changes["retain"] = {**suite.retain.model_dump(), "seed": seeds[0]}
    return Suite.model_validate({**suite.model_dump(), **changes}) if changes else suite


def controls_of(suite: Suite, plugins: Plugins, *, besides: Sequence[Ref] = ()) -> list[Ref]:
    """Return the controls that a suite names, those left out that are among `besides` under the same label.

    Raises:
        UserError: there is no such method, or it is no control.
    """
    for ref in suite.controls:
        if not plugins.methods.get(ref.name).spec.control:
            raise UserError(
                f"suite {suite.name} calls '{ref.name}' a control, and it is a method", "run it with --method"
            )
    given = {ref.label for ref in besides}
    return [ref for ref in suite.controls if ref.label not in given]


def find_concept(dataset: ConceptDataset, name: str) -> Concept:
    """Return the concept with this id, display name or alias, whatever its case and separators.

    Raises:
        UserError: there is none.
    """
    wanted = _fold(name)
    for concept in dataset.concepts.values():
        if wanted in {_fold(w) for w in (concept.id, concept.display, *concept.aliases)}:
            return concept
    raise unknown("concept", name, dataset.concepts)


def _fold(words: str) -> str:
    return "".join(ch for ch in words.lower() if ch.isalnum())
