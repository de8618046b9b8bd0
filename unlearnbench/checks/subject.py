"""What is checked: one spec of a plugin with the parameters that the caller gave."""

from __future__ import annotations

import tempfile
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from unlearnbench.checks.outcome import Failed, Kind
from unlearnbench.checks.package import package_plugins
from unlearnbench.errors import UserError
from unlearnbench.plugins import Plugins, load_plugins, unknown
from unlearnbench.run.plan import check_params

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from unlearnbench.api import DatasetSpec, EvaluatorSpec, MethodSpec, Params
    from unlearnbench.plugins import Entry

T = TypeVar("T")
KINDS: dict[Kind, str] = {
    "method": "methods", "evaluator": "evaluators", "set_evaluator": "set_evaluators", "dataset": "datasets",
}  # fmt: skip


@dataclass
class Subject:
    """One method, evaluator or data set.

    Every check makes instances of its own; what is remembered between checks are observations, never instances.

    Attributes:
        kind: which checks it gets.
        entry: the spec and the plugin that registered it.
        given: parameters that differ from the defaults: the caller's, and else those that the spec calls quick.
        tmp: an empty folder of the checks.
        search: folders that python must look in to find a package that is not installed.
        memory: what `remember` keeps.
    """

    kind: Kind
    entry: Entry[Any]
    given: Mapping[str, Any]
    tmp: Path
    search: tuple[str, ...] = ()
    memory: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def spec(self) -> MethodSpec | EvaluatorSpec | DatasetSpec:
        """Return the spec."""
        found: MethodSpec | EvaluatorSpec | DatasetSpec = self.entry.spec
        return found

    def params(self) -> Params:
        """Return the parameters: the defaults, and what the caller gave.

        Raises:
            UserError: a given parameter is unknown or out of range.
        """
        return check_params(self.entry.load_params(), self.given, self.entry.spec.name)

    def make(self) -> Any:
        """Return a new method or evaluator, or the data set anew."""
        target = self.entry.load()
        return target() if self.kind == "dataset" else target(self.params())

    def folder(self, name: str) -> Path:
        """Return a new empty folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.tmp))

    def remember(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` returned the first time that `key` was asked for."""
        if key not in self.memory:
            self.memory[key] = make()
        found: T = self.memory[key]
        return found


@contextmanager
def subjects(name: str, params: Mapping[str, Any] | None = None) -> Iterator[list[Subject]]:
    """Find what a name or a package folder provides, and lend it for checking in a temporary folder.

    Args:
        name: 'name' or 'distribution/name' of what is installed, or the folder of a package that need not be.
        params: parameters that differ from the defaults.

    Raises:
        UserError: there is no such plugin or folder, the package cannot be loaded, or a parameter is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="unlearnbench-check-") as tmp:
        if Path(name).is_dir():
            with package_plugins(Path(name), Path(tmp)) as (plugins, search):
                yield _all(plugins, params or {}, Path(tmp), search)
        else:
            yield _named(load_plugins(), name, params or {}, Path(tmp))


def _all(plugins: Plugins, params: Mapping[str, Any], tmp: Path, search: tuple[str, ...]) -> list[Subject]:
    found = [
        Subject(kind, entry, _given(entry, params), tmp, search)
        for kind, registry in KINDS.items()
        for entry in plugins.registry(registry)
    ]
    if not found:
        raise UserError(
            "the package registers no method, evaluator, set evaluator or data set",
            "let a hook such as unlearnbench_methods return a list with its spec",
        )
    return _with_params(found)


def _named(plugins: Plugins, name: str, params: Mapping[str, Any], tmp: Path) -> list[Subject]:
    found: list[Subject] = []
    known: list[str] = []
    for kind, registry in KINDS.items():
        entries = list(plugins.registry(registry))
        known += [entry.spec.name for entry in entries]
        if any(name in (e.spec.name, f"{e.plugin.distribution}/{e.spec.name}") for e in entries):
            entry = plugins.registry(registry).get(name)
            found.append(Subject(kind, entry, _given(entry, params), tmp))
    if not found:
        raise unknown("method, evaluator, data set or package folder", name, known)
    return _with_params(found)


def _given(entry: Entry[Any], params: Mapping[str, Any]) -> dict[str, Any]:
    return {**getattr(entry.spec, "quick", {}), **params}


def _with_params(found: list[Subject]) -> list[Subject]:
    """Refuse wrong parameters before anything is checked; a data set has none."""
    for subject in found:
        if subject.given and subject.kind == "dataset":
            raise UserError(f"the data set {subject.spec.name} takes no parameter", "leave -p out")
        if subject.given:
            subject.params()
    return found


def trace(error: BaseException) -> str:
    """Return the traceback of an exception as text; '' for the outcomes of checks."""
    return "" if isinstance(error, Failed) else "".join(traceback.format_exception(error))
