"""Read a package folder that is not installed: its entry points, as if it were."""

from __future__ import annotations

import importlib
import sys
import tomllib
from contextlib import contextmanager
from importlib.metadata import distributions
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.plugins import GROUP, Plugins, load_plugins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HINT = f'give it [project.entry-points.{GROUP}] with a line such as nudge = "unlearnbench_nudge"'


@contextmanager
def package_plugins(folder: Path, tmp: Path) -> Iterator[tuple[Plugins, tuple[str, ...]]]:
    """Load the plugins of one package folder, importable inside the block.

    Args:
        folder: holds a pyproject.toml.
        tmp: where the metadata of the distribution is written; nothing is written to `folder`.

    Yields:
        What the package provides, and the folders that were added to python's path.

    Raises:
        UserError: pyproject.toml cannot be read or names no entry point, or a module is not there or does not load.
    """
    project, points = _project(folder)
    site = tmp / "site"
    name, version = str(project["name"]), str(project.get("version", "0"))
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    requires = "".join(f"Requires-Dist: {requirement}\n" for requirement in project.get("dependencies", ()))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}", "utf-8")
    lines = [f"{key} = {value}\n" for key, value in points.items()]
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{''.join(lines)}", "utf-8")
    search = tuple(dict.fromkeys(str(_home(folder, str(value))) for value in points.values()))
    sys.path[:0] = search
    importlib.invalidate_caches()
    try:
        (distribution,) = distributions(path=[str(site)])
        plugins = load_plugins([p for p in distribution.entry_points if p.group == GROUP], environ={})
        if broken := plugins.failed():
            hint = getattr(broken[0], "hint", "") or "mend it, and type the same command again"
            raise UserError(f"{folder} cannot be loaded: {broken[0].reason}", hint)
        yield plugins, search
    finally:
        for entry in search:
            if entry in sys.path:
                sys.path.remove(entry)


def _project(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    path = folder / "pyproject.toml"
    try:
        project: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", "name the folder of a package, or what is installed") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no TOML: {error}", "mend that line and type the same command again") from error
    points = project.get("entry-points", {}).get(GROUP, {})
    if "name" not in project or not points:
        raise UserError(f"{path} names no entry point of the group {GROUP}", _HINT)
    return project, points


def _home(folder: Path, value: str) -> Path:
    """Return the folder from which the module of an entry point can be imported."""
    top = value.partition(":")[0].split(".")[0].strip()
    for home in (folder / "src", folder):
        if (home / top).is_dir() or (home / f"{top}.py").is_file():
            return home.resolve()
    raise UserError(f"{folder} has no module {top}", f"put it in {folder / 'src' / top}, or mend the entry point")
