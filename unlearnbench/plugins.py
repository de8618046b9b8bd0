"""Discovery of plugins, each in isolation, and the registries that commands look names up in."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import traceback
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

import pluggy

from unlearnbench import hookspecs
from unlearnbench.api import DatasetSpec, EvaluatorSpec, MethodSpec, ModelSource, SuiteSource
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.identity import digest_files
from unlearnbench.spec import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType

GROUP = "unlearnbench"
DISABLE = "UNLEARNBENCH_DISABLE_PLUGINS"
NAME = re.compile(r"^[a-z0-9][a-z0-9._-]*$")
Spec = MethodSpec | EvaluatorSpec | DatasetSpec | ModelSource | SuiteSource
S = TypeVar("S", MethodSpec, EvaluatorSpec, DatasetSpec, ModelSource, SuiteSource)

KINDS: Mapping[str, type[Spec]] = {
    "methods": MethodSpec,
    "evaluators": EvaluatorSpec,
    "datasets": DatasetSpec,
    "models": ModelSource,
    "suites": SuiteSource,
}


@dataclass(frozen=True)
class PluginRecord:
    """One entry point of the group, and how loading it went."""

    name: str
    distribution: str
    version: str
    module: str
    file: str | None
    status: Literal["ok", "failed", "disabled"]
    reason: str = ""
    details: str = ""
    provides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry(Generic[S]):
    """A spec and the plugin that registered it."""

    spec: S
    plugin: PluginRecord

    def load(self) -> Any:
        """Import the target of the spec and return it.

        Raises:
            PrerequisiteError: the target cannot be imported.
        """
        return _import(getattr(self.spec, "target", ""), self)

    def load_params(self) -> Any:
        """Import the parameter class of the spec and return it; it is light."""
        return _import(getattr(self.spec, "params", ""), self)

    def origin(self) -> Origin:
        """Return distribution, version and source digest of the plugin."""
        return Origin(
            distribution=self.plugin.distribution, version=self.plugin.version, source=_source_digest(self.plugin)
        )


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

    def clashes(self) -> dict[str, list[Entry[S]]]:
        """Return the names that more than one plugin claims."""
        return {name: entries for name, entries in sorted(self._entries.items()) if len(entries) > 1}

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


@dataclass
class Plugins:
    """What discovery found."""

    records: list[PluginRecord]
    methods: Registry[MethodSpec]
    evaluators: Registry[EvaluatorSpec]
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
                    broken.append(_with(entry.plugin, status="failed", reason=reason))
        return broken

    def shipped_models(self) -> dict[str, Path]:
        """Return the folders of the models that plugins ship, by name; clashing names are left out."""
        clashing = self.models.clashes()
        return {e.spec.name: Path(e.load()()) for e in self.models if e.spec.name not in clashing}


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


def shipped_models() -> dict[str, Path]:
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
    for point in sorted(set(points), key=lambda p: (p.dist.name if p.dist else "", p.name)):
        record, specs = _load_one(point, disabled)
        found.records.append(record)
        for kind, spec in specs:
            found.registry(kind).add(Entry(spec, record))
    return found


def _load_one(point: EntryPoint, disabled: set[str]) -> tuple[PluginRecord, list[tuple[str, Spec]]]:
    """Load one entry point; never raises for what a plugin does wrong."""
    record = PluginRecord(
        name=point.name,
        distribution=point.dist.name if point.dist else "unknown",
        version=point.dist.version if point.dist else "unknown",
        module=point.value,
        file=None,
        status="disabled",
        reason=f"named in {DISABLE}",
    )
    if {point.name, record.distribution} & disabled:
        return record, []
    try:
        module = point.load()
        specs = _collect(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a plugin may even call sys.exit while it is imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return _with(record, status="failed", reason=reason, details=traceback.format_exc()), []
    provides = tuple(f"{kind.removesuffix('s')} {spec.name}" for kind, spec in specs)
    file = getattr(module, "__file__", None)
    return _with(record, status="ok", reason="", file=file, provides=provides), specs


def _collect(module: ModuleType) -> list[tuple[str, Spec]]:
    """Call the hooks of one plugin and check what they return."""
    # A manager of its own for each plugin: its unknown hooks and arguments are reported as its own.
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    manager.check_pending()
    specs: list[tuple[str, Spec]] = []
    for kind, expected in KINDS.items():
        hook: Callable[[], list[Any]] = getattr(manager.hook, f"unlearnbench_{kind}")
        for result in hook():
            if not isinstance(result, list):
                raise TypeError(f"unlearnbench_{kind} must return a list, not {type(result).__name__}")
            for spec in result:
                if not isinstance(spec, expected):
                    raise TypeError(f"unlearnbench_{kind} must list {expected.__name__}, not {type(spec).__name__}")
                if not NAME.match(spec.name):
                    raise ValueError(f"'{spec.name}' is no name: use lower-case letters, digits, '.', '_' and '-'")
                if any(k == kind and s.name == spec.name for k, s in specs):
                    raise ValueError(f"lists the {kind.removesuffix('s')} '{spec.name}' twice")
                specs.append((kind, spec))
    return specs


def _with(record: PluginRecord, **changes: Any) -> PluginRecord:
    return PluginRecord(**{**record.__dict__, **changes})


def _import(target: str, entry: Entry[Any]) -> Any:
    module, colon, name = target.partition(":")
    try:
        if not colon:
            raise ImportError(f"target '{target}' is not of the form 'package.module:name'")
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise PrerequisiteError(
            f"'{entry.spec.name}' of {entry.plugin.distribution} cannot be imported: {error}",
            f"reinstall it: pip install {entry.plugin.distribution}",
        ) from error


def _source_digest(plugin: PluginRecord) -> str:
    """Digest the python files of a plugin's package, so that an edited plugin never reuses old results."""
    if plugin.file is None:
        return digest_files([])
    file = Path(plugin.file)
    if file.name != "__init__.py":
        return digest_files([(file.name, file)])
    return digest_files((p.relative_to(file.parent).as_posix(), p) for p in file.parent.rglob("*.py"))
