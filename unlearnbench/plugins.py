"""Discovery of plugins, each in isolation, and the registries that commands look names up in."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from unlearnbench.api import DatasetSpec, EvaluatorSpec, MethodSpec, ModelSource, SuiteSource
from unlearnbench.discovery import DISABLE, GROUP, KINDS, NAME, PluginRecord, load_point, one_line
from unlearnbench.errors import ExitCode, UserError
from unlearnbench.identity import digest_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unlearnbench.spec import Origin

__all__ = ["DISABLE", "GROUP", "KINDS", "NAME", "Entry", "PluginRecord", "Plugins", "Registry", "load_plugins"]

EDITING = Path(__file__).parent / "editing"
S = TypeVar("S", MethodSpec, EvaluatorSpec, DatasetSpec, ModelSource, SuiteSource)


class BrokenPlugin(UserError):  # noqa: N818  named after what it is
    """The code behind a spec cannot be imported: the tasks that need it fail, and no others."""

    exit_code = ExitCode.PREREQUISITE


@dataclass(frozen=True)
class Entry(Generic[S]):
    """A spec and the plugin that registered it."""

    spec: S
    plugin: PluginRecord

    def load(self) -> Any:
        """Import the target of the spec and return it.

        Raises:
            BrokenPlugin: the target cannot be imported.
        """
        return _import(getattr(self.spec, "target", ""), self)

    def load_params(self) -> Any:
        """Import the parameter class of the spec and return it; it is light."""
        return _import(getattr(self.spec, "params", ""), self)

    def origin(self) -> Origin:
        """Return distribution, version and source digest of the plugin, and of `unlearnbench.editing` for a method."""
        files = _source_files(self.plugin)
        if isinstance(self.spec, MethodSpec):
            files += [(f"editing/{p.name}", p) for p in EDITING.glob("*.py")]
        from unlearnbench.spec import Origin

        return Origin(distribution=self.plugin.distribution, version=self.plugin.version, source=digest_files(files))


@dataclass
class Registry(Generic[S]):
    """All specs of one kind by name; a name that two plugins claim resolves only as 'distribution/name'."""

    kind: str
    _entries: dict[str, list[Entry[S]]] = field(default_factory=dict)

    def add(self, entry: Entry[S]) -> None:
        """Add an entry."""
        self._entries.setdefault(entry.spec.name, []).append(entry)

    def __iter__(self) -> Iterator[Entry[S]]:
        for name in sorted(self._entries):
            yield from self._entries[name]

    def by_name(self) -> Iterator[tuple[str, list[Entry[S]]]]:
        """Iterate over the names, sorted, and the entries of each."""
        yield from sorted(self._entries.items())

    def clashes(self) -> dict[str, list[Entry[S]]]:
        """Return the names that more than one plugin claims."""
        return {name: entries for name, entries in self.by_name() if len(entries) > 1}

    def get(self, name: str) -> Entry[S]:
        """Return the entry called `name` or 'distribution/name'.

        Raises:
            UserError: there is none, or two plugins claim the name.
        """
        distribution, slash, plain = name.rpartition("/")
        found = [e for e in self._entries.get(plain, []) if not slash or e.plugin.distribution == distribution]
        if len(found) == 1:
            return found[0]
        singular = self.kind.removesuffix("s")
        if found:
            owners = [e.plugin.distribution for e in found]
            raise UserError(
                f"{singular} '{name}' is claimed by {' and '.join(owners)}",
                f"type {' or '.join(f'{o}/{plain}' for o in owners)}, or set {DISABLE} to the plugin you do not want",
            )
        raise unknown(singular, name, self._entries, f"unlearnbench list {self.kind}")


class _Shipped(Mapping[str, Path]):
    """Folders by model name; one is asked of its plugin when it is looked up, so that a broken one harms no other."""

    def __init__(self, entries: dict[str, Entry[ModelSource]]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> Path:
        return Path(self._entries[name].load()())

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


@dataclass
class Plugins:
    """What discovery found."""

    records: list[PluginRecord]
    methods: Registry[MethodSpec]
    evaluators: Registry[EvaluatorSpec]
    set_evaluators: Registry[EvaluatorSpec]
    datasets: Registry[DatasetSpec]
    models: Registry[ModelSource]
    suites: Registry[SuiteSource]

    def registry(self, kind: str) -> Registry[Any]:
        """Return the registry of one kind ('methods', 'evaluators', ...)."""
        return cast("Registry[Any]", getattr(self, kind))

    def failed(self) -> list[PluginRecord]:
        """Return what could not be loaded, name clashes included."""
        broken = [r for r in self.records if r.status == "failed"]
        for kind in KINDS:
            for name, entries in self.registry(kind).clashes().items():
                owners = [e.plugin.distribution for e in entries]
                for entry in entries:
                    others = [o for o in owners if o != entry.plugin.distribution] or owners[1:]
                    reason = f"{kind.removesuffix('s')} '{name}' is claimed by {' and '.join(others)} too"
                    hint = (
                        f"rename it; until then type {entry.plugin.distribution}/{name}, or set {DISABLE} "
                        f"to {' or '.join(others)}"
                    )
                    broken.append(replace(entry.plugin, status="failed", reason=reason, hint=hint))
        return broken

    def shipped_models(self) -> Mapping[str, Path]:
        """Return the folders of the models that plugins ship, by name; clashing names are left out."""
        return _Shipped({name: entries[0] for name, entries in self.models.by_name() if len(entries) == 1})


def unknown(kind: str, name: str, known: Iterable[str], command: str | None = None) -> UserError:
    """Return the error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    hint = f"did you mean '{next(n for n in names if n.lower() == near[0])}'? " if near else ""
    if command:
        hint += f"Type `{command}` to see all."
    elif not near:
        hint += f"Known: {', '.join(names) or 'none'}."
    return UserError(f"unknown {kind} '{name}'", hint)


def shipped_models() -> Mapping[str, Path]:
    """Return the folders of the models that the installed plugins ship, by name."""
    return load_plugins().shipped_models()


def load_plugins(points: Iterable[EntryPoint] | None = None, environ: Mapping[str, str] | None = None) -> Plugins:
    """Load every plugin, each alone: what fails is recorded and breaks nothing else.

    Args:
        points: entry points to load; default: all installed ones of the group.
        environ: where `UNLEARNBENCH_DISABLE_PLUGINS` (comma-separated entry points or distributions) is read.
    """
    points = entry_points(group=GROUP) if points is None else points
    disabled = {n.strip() for n in (os.environ if environ is None else environ).get(DISABLE, "").split(",")} - {""}
    found = Plugins([], *(Registry(kind) for kind in KINDS))  # type: ignore[arg-type]
    # Equal entry points of two distributions are two plugins; importlib.metadata takes them for one.
    distinct = {(p.dist.name if p.dist else "", p.name, p.value): p for p in points}
    for _, point in sorted(distinct.items()):
        record, specs = load_point(point, disabled)
        found.records.append(record)
        for kind, spec in specs:
            found.registry(kind).add(Entry(spec, record))
    return found


def _import(target: str, entry: Entry[Any]) -> Any:
    module, colon, name = target.partition(":")
    where = f"{entry.plugin.distribution} {entry.plugin.version} ({entry.plugin.file})"
    if not colon:
        raise BrokenPlugin(
            f"'{entry.spec.name}' of {where} cannot be imported: '{target}' names no class",
            f"let {entry.plugin.module} write it as 'package.module:name'",
        )
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a module raises while it is imported
        raise BrokenPlugin(
            f"'{entry.spec.name}' of {where} cannot be imported: {one_line(f'{type(error).__name__}: {error}')}",
            f"if a package is missing, install it; else its author corrects {module} or the target '{target}'",
        ) from error


def _source_files(plugin: PluginRecord) -> list[tuple[str, Path]]:
    """List the python files of a plugin's package: they are digested, so an edited plugin never reuses old results."""
    if plugin.file is None:
        return []
    file = Path(plugin.file)
    if file.name != "__init__.py":
        return [(file.name, file)]
    return [(p.relative_to(file.parent).as_posix(), p) for p in file.parent.rglob("*.py")]
