"""The layout tells the architecture: modules import only what stands before them, and few import torch."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "unlearnbench"
LAYERS = [
    {"atomic", "hookspecs", "api", "dataset", "errors", "identity", "images", "thresholds"},
    {"spec", "progress", "words", "verdict", "leaks"},
    {"discovery", "plugins", "modelfiles"},
    {"suites", "store", "model", "edits", "sampling", "editing"},
    {"concepts", "weights", "run.several"},
    {"captions"},
    {"run.request", "run.look", "run.responses"},
    {"run.protocol"},
    {"run.plan"},
    {"run.effects", "run.faults"},
    {"run.stages"},
    {"run.machine", "run.scoring"},
    {"run.execute"},
    {"run.session", "run.cost", "results.table", "results.assemble", "stats", "testing", "checks", "lint", "scaffold"},
    {"results.publish", "results.merge"},
    {"published", "board"},
    {"calibration"},
    {"render"},
    {"cli"},
]
SEVERAL = {"run", "results"}  # packages whose modules stand in different layers
TORCH = {
    "model", "editing", "edits", "sampling", "run.look", "run.responses", "run.effects", "run.stages", "testing",
    "checks",
}  # fmt: skip


def modules():
    return sorted(p for p in CORE.rglob("*.py") if p.parent.name != "__pycache__")


def group(path):
    """Return what of LAYERS a file belongs to; a package's docstring belongs to none."""
    return named(list(path.relative_to(CORE).with_suffix("").parts))


def named(parts):
    if len(parts) > 1 and parts[0] in SEVERAL:
        return None if parts[1] == "__init__" else ".".join(parts[:2])
    return parts[0]


def imported(path, *, inside_functions):
    """Yield the modules that a file imports when it runs; imports for type checkers do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {id(n) for n in ast.walk(node)}
        if isinstance(node, ast.FunctionDef) and not inside_functions:
            skipped |= {id(n) for n in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_has_a_layer():
    assert {group(p) for p in modules()} - {None} == set().union(*LAYERS)


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(CORE).as_posix())
def test_modules_import_only_what_stands_before_them(path):
    rank = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    own = rank.get(group(path), -1)
    for name in imported(path, inside_functions=False):
        if name.startswith("unlearnbench."):
            assert rank.get(named(name.split(".")[1:]), -1) <= own, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(CORE).as_posix())
def test_only_a_few_modules_import_torch(path):
    heavy = {
        n for n in imported(path, inside_functions=False) if n.split(".")[0] in ("torch", "diffusers", "transformers")
    }
    assert not heavy or group(path) in TORCH, f"{path.name} imports {heavy}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(CORE).as_posix())
def test_modules_are_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 330


def test_the_core_knows_no_plugin_by_name():
    names = [p.name for p in (ROOT / "plugins").iterdir() if p.is_dir()]
    for path in modules():
        strings = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not strings & set(names), path.name
        assert not any(name.startswith("unlearnbench_") for name in imported(path, inside_functions=True)), path.name


def test_the_readme_has_its_two_commands_in_one_line_each():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    commands = {}
    for number, line in enumerate(lines):
        if line.startswith("<!-- command: "):
            assert (lines[number + 1], lines[number + 3]) == ("```bash", "```")
            commands[line.split()[2]] = lines[number + 2]
    assert commands == {
        "run": "pip install -r requirements.txt && unlearnbench run --method alphaedit",
        "test": "pip install -r requirements-dev.txt && pytest",
    }
