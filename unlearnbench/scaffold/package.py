"""Write a new plugin package from the templates of its kind."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import json
import keyword
import re
import secrets
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Literal, get_args

from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.suites import DEFAULT_SUITE, load_suite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from unlearnbench.plugins import Plugins
    from unlearnbench.spec import Suite

Kind = Literal["method", "evaluator", "dataset"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
SUFFIX = ".template"
# What a package of the kind needs besides unlearnbench; floors are those of unlearnbench itself.
_DEPENDENCIES: dict[Kind, tuple[str, ...]] = {"method": ("torch",), "evaluator": ("pillow",), "dataset": ()}


def new(kind: Kind, name: str, parent: Path, plugins: Plugins) -> Path:
    """Write the package `unlearnbench-<name>` into a new folder of `parent` and return the folder.

    Either the whole package is written or nothing.

    Args:
        kind: what the package provides.
        name: of the method, evaluator or data set: lower-case letters, digits and '-'.
        parent: an existing folder.
        plugins: what is installed; their names are taken.

    Raises:
        UserError: the name is none or taken, or the folder is there already.
        PrerequisiteError: nothing can be written there; or the default suite, whose model, sampler and judge the suite
            of a new data set takes, is not installed.
    """
    module = f"unlearnbench_{name.replace('-', '_')}"
    _check_name(kind, name, module, plugins)
    folder = parent / f"unlearnbench-{name}"
    if folder.exists():
        raise UserError(f"{folder} is there already", "choose another name, or another place with --path DIR")
    if not parent.is_dir():
        raise UserError(f"{parent} is no folder", "make it first, or choose another place with --path DIR")
    texts = dict(_render(kind, _words(kind, name, module, plugins)))
    _check_class(texts, _class_name(name), name)
    _write(folder, texts)
    return folder


def _check_name(kind: Kind, name: str, module: str, plugins: Plugins) -> None:
    if not NAME.fullmatch(name):
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789") or "nudge"
        raise UserError(
            f"'{name}' is no name: a letter first, then lower-case letters, digits and single '-'",
            f"type for example `unlearnbench new {kind} {plain}`",
        )
    hint = f"choose another name; `unlearnbench list {kind}s` shows those that are taken"
    for registry in (plugins.methods, plugins.evaluators, plugins.datasets):
        if owners := [entry.plugin for entry in registry if entry.spec.name == name]:
            owner = f"{owners[0].distribution} {owners[0].version}"
            raise UserError(f"the {registry.kind.removesuffix('s')} '{name}' exists already, in {owner}", hint)
    try:
        raise UserError(f"unlearnbench-{name} {version(f'unlearnbench-{name}')} is installed already", hint)
    except PackageNotFoundError:
        pass
    if importlib.util.find_spec(module):
        raise UserError(f"there is a python package {module} already", hint)


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))


def _check_class(texts: dict[str, str], cls: str, name: str) -> None:
    """Refuse a name whose class would hide something that the package uses."""
    advice = "choose another name, such as the one that its paper has"
    if keyword.iskeyword(cls) or hasattr(builtins, cls):
        raise UserError(f"the class of '{name}' would be called {cls}, like one of python", advice)
    trees = [ast.parse(text) for path, text in texts.items() if path.endswith(".py")]
    imports = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    foreign = [node for node in imports if not ast.unparse(node).startswith("from unlearnbench_")]
    taken = {alias.name for node in foreign for alias in node.names}
    if cls in taken:
        raise UserError(f"the class of '{name}' would be called {cls}, like one that the package imports", advice)


def _words(kind: Kind, name: str, module: str, plugins: Plugins) -> dict[str, str]:
    """Return what the templates leave open."""
    installed = version("unlearnbench")
    words = {
        "kind": {"dataset": "data set"}.get(kind, kind),
        "name": name,
        "module": module,
        "tail": module.removeprefix("unlearnbench_"),
        "cls": _class_name(name),
        "title": name.replace("-", " ").capitalize(),
        "api": f">={installed},<{int(installed.partition('.')[0]) + 1}",
        "dependencies": "".join(f'\n    "{dependency}",' for dependency in _DEPENDENCIES[kind]),
    }
    if kind == "dataset":
        words |= {"suite": DEFAULT_SUITE, "protocol": _protocol(_default_suite(plugins))}
    return words


def _default_suite(plugins: Plugins) -> Suite:
    try:
        return load_suite(plugins, DEFAULT_SUITE)
    except UserError as error:
        raise PrerequisiteError(
            f"the suite of a new data set takes model, sampler and judge from {DEFAULT_SUITE}, which is not installed",
            "pip install unlearnbench-suites",
        ) from error


def _protocol(suite: Suite) -> str:
    """Write model, sampler and judge of a suite as TOML; strings, numbers and booleans are the same as in JSON."""
    sampler = suite.sampler.model_dump(exclude_none=True)
    params = ", ".join(f"{key} = {json.dumps(value)}" for key, value in suite.evaluator.params.items())
    lines = [
        f"model = {{ id = {json.dumps(suite.model.id)} }}",
        "",
        "[sampler]",
        *(f"{key} = {json.dumps(value)}" for key, value in sampler.items()),
        "",
        "[evaluator]",
        f"name = {json.dumps(suite.evaluator.name)}",
        f"params = {{ {params} }}",
    ]
    return "\n".join(lines)


def _render(kind: Kind, words: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield path and text of every file of the package."""
    root = files("unlearnbench.scaffold") / "templates"
    names = {"MODULE": words["module"], "NAME": words["name"], "TAIL": words["tail"]}
    for part in ("common", kind):
        for path, source in _templates(root / part, ""):
            place = re.sub("|".join(names), lambda found: names[found[0]], path.removesuffix(SUFFIX))
            yield place, Template(source.read_text(encoding="utf-8")).substitute(words)


def _templates(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for item in sorted(folder.iterdir(), key=lambda found: found.name):
        if item.is_dir():
            yield from _templates(item, f"{prefix}{item.name}/")
        elif item.name.endswith(SUFFIX):
            yield f"{prefix}{item.name}", item


def _write(folder: Path, texts: dict[str, str]) -> None:
    """Write all files beside the folder and move them there in one step."""
    place = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        try:
            for path, text in texts.items():
                file = place / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            place.rename(folder)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
    except OSError as error:
        what = f"cannot write {folder}: {error.strerror}"
        raise PrerequisiteError(what, "choose another place with --path DIR") from error
