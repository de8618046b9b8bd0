"""Load one plugin in isolation: what goes wrong becomes a record that tells the plugin's author what to do."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import io
import re
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import pluggy
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from unlearnbench import hookspecs
from unlearnbench.api import DatasetSpec, EvaluatorSpec, MethodSpec, ModelSource, SuiteSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from importlib.metadata import EntryPoint
    from types import ModuleType

GROUP = "unlearnbench"
DISABLE = "UNLEARNBENCH_DISABLE_PLUGINS"
NAME = re.compile(r"^[a-z0-9][a-z0-9._-]*$")
LONGEST = 200  # characters of a summary
REASON = 400  # characters of a reason, and of what is shown of printed text
Spec = MethodSpec | EvaluatorSpec | DatasetSpec | ModelSource | SuiteSource

KINDS: Mapping[str, type[Spec]] = {
    "methods": MethodSpec,
    "evaluators": EvaluatorSpec,
    "set_evaluators": EvaluatorSpec,
    "datasets": DatasetSpec,
    "models": ModelSource,
    "suites": SuiteSource,
}


@dataclass(frozen=True)
class PluginRecord:
    """One entry point of the group, and how loading it went.

    Attributes:
        name: of the entry point.
        distribution: that declares the entry point.
        version: of the distribution.
        module: that the entry point names.
        file: of the module; None if there is no such file.
        status: `ok`, `failed` or `disabled`.
        reason: why it is not `ok`, or what is odd about it; one line.
        details: traceback of what failed, or the beginning of what was printed.
        provides: what it registers, as 'method uce'.
        hint: what the plugin's author can do; one line.
    """

    name: str
    distribution: str
    version: str
    module: str
    file: str | None
    status: Literal["ok", "failed", "disabled"]
    reason: str = ""
    details: str = ""
    provides: tuple[str, ...] = ()
    hint: str = ""


class Fault(Exception):  # noqa: N818  named after what it is
    """Something that a plugin may not do; `hint` says what its author can do about it."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint


class Sink(io.TextIOBase):
    """Counts what is written to it and keeps the beginning: a plugin that prints a lot costs no memory."""

    def __init__(self) -> None:
        self.count = 0
        self.beginning = ""

    def write(self, text: str) -> int:
        """Take a text."""
        self.count += len(text)
        self.beginning += text[: max(0, 10 * REASON - len(self.beginning))]
        return len(text)


def load_point(point: EntryPoint, disabled: set[str]) -> tuple[PluginRecord, list[tuple[str, Spec]]]:
    """Load one entry point; never raises for what a plugin does wrong.

    What the plugin prints from python meanwhile is counted and dropped: the output of a command is read by programs.

    Args:
        point: the entry point.
        disabled: names of entry points and distributions that are left out.

    Returns:
        The record, and the specs with their kind; no spec unless the status is 'ok'.
    """
    record = PluginRecord(
        name=point.name,
        distribution=point.dist.name if point.dist else "unknown",
        version=point.dist.version if point.dist else "unknown",
        module=point.value,
        file=_file(point),
        status="disabled",
        reason=f"named in {DISABLE}",
        hint=f"take it out of {DISABLE} to load it",
    )
    if {point.name, record.distribution} & disabled:
        return record, []
    sink = Sink()
    try:
        with redirect_stdout(sink), redirect_stderr(sink):
            _check_version(point)
            module = point.load()
            specs = list(_collect(module))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a plugin may even call sys.exit while it is imported
        reason = str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
        hint = error.hint if isinstance(error, Fault) else _advice(error, record)
        failed = replace(record, status="failed", reason=one_line(reason), hint=hint, details=traceback.format_exc())
        return failed, []
    provides = tuple(f"{kind.removesuffix('s')} {spec.name}" for kind, spec in specs)
    loaded = replace(record, status="ok", reason="", hint="", file=getattr(module, "__file__", None), provides=provides)
    if sink.count:
        loaded = replace(
            loaded,
            reason=f"printed {sink.count:,} characters while it was loaded; they are dropped",
            hint=f"let {record.module} print nothing: commands load it, and programs read what they print",
            details=sink.beginning,
        )
    return loaded, specs


def _check_version(point: EntryPoint) -> None:
    """Refuse a plugin whose distribution was written for another version of the plugin API."""
    installed = version(GROUP)
    for text in (point.dist.requires if point.dist else None) or []:
        needed = Requirement(text)
        if canonicalize_name(needed.name) != GROUP or (needed.marker and not needed.marker.evaluate({"extra": ""})):
            continue
        if not needed.specifier.contains(installed, prereleases=True):
            raise Fault(
                f"needs unlearnbench{needed.specifier}, and {installed} is installed",
                f"pip install 'unlearnbench{needed.specifier}', or a version of the plugin for {installed}; "
                "its author adapts it and widens `dependencies` in its pyproject.toml",
            )


def _collect(module: ModuleType) -> Iterator[tuple[str, Spec]]:
    """Call the hooks of one plugin and check what they return."""
    # A manager of its own for each plugin: its unknown hooks and arguments are reported as its own.
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    _check_hooks(module, manager)
    manager.register(module)
    manager.check_pending()
    seen: set[tuple[str, str]] = set()
    for kind, expected in KINDS.items():
        name = f"unlearnbench_{kind}"
        hook: Callable[[], list[Any]] = getattr(manager.hook, name)
        for result in hook():

            def refuse(what: str, name: str = name, expected: type[Spec] = expected) -> NoReturn:
                where = _place(getattr(module, name))
                raise Fault(what, f"correct {where}: it returns a list such as [{expected.__name__}(name=..., ...)]")

            if not isinstance(result, list):
                refuse(f"{name} must return a list, not {type(result).__name__}")
            for spec in result:
                if not isinstance(spec, expected):
                    refuse(f"{name} must list {expected.__name__}, not {type(spec).__name__}")
                if not NAME.match(spec.name):
                    refuse(f"'{one_line(spec.name)}' is no name: use lower-case letters, digits, '.', '_' and '-'")
                if len(spec.summary) > LONGEST or "\n" in spec.summary:
                    refuse(
                        f"the summary of '{spec.name}' must be one line of at most {LONGEST} characters, "
                        f"not {len(spec.summary):,}"
                    )
                if (kind, spec.name) in seen:
                    refuse(f"lists the {kind.removesuffix('s')} '{spec.name}' twice")
                seen.add((kind, spec.name))
                yield kind, spec


def _check_hooks(module: ModuleType, manager: pluggy.PluginManager) -> None:
    """Refuse hooks that would never be called or cannot be: misspelt ones, undecorated ones, ones with arguments."""
    hooks = [name for name in vars(hookspecs) if name.startswith("unlearnbench_")]
    for name, function in inspect.getmembers(module, inspect.isfunction):
        marked = manager.parse_hookimpl_opts(module, name) is not None
        if not marked and name.startswith("unlearnbench_") and function.__module__ == module.__name__:
            raise Fault(f"{name} is not marked as a hook", f"put @hookimpl above it: {_place(function)}")
        if not marked:
            continue
        if name not in hooks:
            near = difflib.get_close_matches(name, hooks, n=1, cutoff=0.0)[0]
            raise Fault(f"unknown hook '{name}'", f"did you mean {near}? Correct {_place(function)}")
        if wanted := list(inspect.signature(function).parameters):
            raise Fault(
                f"hook {name} takes no argument, and this one has {', '.join(wanted)}",
                f"take it away: {_place(function)}",
            )


def _advice(error: BaseException, record: PluginRecord) -> str:
    """Tell the author of a plugin what to do about an exception that it raised."""
    where = _origin(error, record)
    package = record.module.split(":")[0].split(".")[0]
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] not in (package, GROUP):
        return (
            f"pip install what provides '{error.name}', and name it in `dependencies` of {record.distribution}; "
            f"what only a target needs is imported there, not in {where}"
        )
    if isinstance(error, SystemExit):
        return f"take the exit out of {where}: every command imports it"
    return f"correct {where}; `unlearnbench plugins --failed --json` shows the traceback"


def _origin(error: BaseException, record: PluginRecord) -> str:
    """Return file and line in the plugin where an exception came from, as well as they can be told."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    if record.file is None:
        return f"the entry point: it names the module {record.module}"
    own = Path(record.file)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file == own or (own.name == "__init__.py" and own.parent in file.parents):
            return f"{file}, line {frame.lineno}"
    return record.file


def _place(function: Any) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}, line {code.co_firstlineno}"


def _file(point: EntryPoint) -> str | None:
    """Return the file of the entry point's top-level module without importing it."""
    try:
        spec = importlib.util.find_spec(point.module.split(".")[0])
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec else None


def one_line(text: str) -> str:
    """Return a text as one line of at most `REASON` characters."""
    line = " ".join(text[: 10 * REASON].split())
    return line if len(line) <= REASON else f"{line[: REASON - 3]}..."
