"""`unlearnbench new`: what it writes works as written, and our own plugins have the same form."""

from __future__ import annotations

import ast
import builtins
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.plugins import load_plugins
from unlearnbench.scaffold import KINDS, new

ROOT = Path(__file__).parents[1]
NAMES = {"method": "nudge", "evaluator": "plain-hues", "dataset": "toys"}


def declare(folder):
    """Make a package folder one that python finds, as `pip install -e` does: metadata beside its source."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / "src" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    requires = "".join(f"Requires-Dist: {line}\n" for line in project["dependencies"])
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n{requires}"
    )
    points = project["entry-points"]["unlearnbench"]
    lines = [f"{key} = {value}\n" for key, value in points.items()]
    (info / "entry_points.txt").write_text(f"[unlearnbench]\n{''.join(lines)}")
    return str(folder / "src")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Write one package of each kind and declare them: kind -> folder."""
    place = tmp_path / "packages"
    place.mkdir()
    folders = {kind: new(kind, name, place, load_plugins()) for kind, name in NAMES.items()}
    for folder in folders.values():
        monkeypatch.syspath_prepend(declare(folder))
    importlib.invalidate_caches()
    yield folders
    for name in NAMES.values():
        package = f"unlearnbench_{name.replace('-', '_')}"
        for module in [m for m in sys.modules if m == package or m.startswith(f"{package}.")]:
            del sys.modules[module]


# ---------------------------------------------------------------- what is written works
def test_the_packages_are_listed_with_their_parameters(packages, call):
    for kind, name in NAMES.items():
        entry = load_plugins().registry(f"{kind}s").get(name)
        assert entry.plugin.distribution == f"unlearnbench-{name}"
        assert entry.plugin.status == "ok"
        code, out, err = call("show", name)
        assert (code, err) == (0, "")
        assert f"unlearnbench-{name} 0.1.0" in out
    assert "s, share of the way to the target's values" in call("show", "nudge")[1]
    assert "toys-quick" in call("list", "suites")[1]
    code, out, _ = call("list", "concepts", "--dataset", "toys")
    assert [line.split()[0] for line in out.splitlines()] == ["owl", "car", "tulip"]


def test_their_own_tests_pass_the_conformance_checks_among_them(packages, tmp_path):
    path = os.pathsep.join(str(folder / "src") for folder in packages.values())
    ended = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-v", "-W", "error", "-p", "no:cacheprovider", "--import-mode=importlib",
            "--override-ini=addopts=", *(str(folder) for folder in packages.values()),
        ],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    passed = re.findall(r"::(test_\w+)(?:\[(\S+)\])? PASSED", ended.stdout)
    assert {"check_edit", "check_version_pins_content", "check_more_of_the_concept_scores_higher"} <= {
        c for _, c in passed
    }
    assert sum(name != "test_conformance" for name, _ in passed) == 5


def test_they_run_on_the_embedded_model(packages, call, tmp_path):
    suite = (packages["dataset"] / "src" / "unlearnbench_toys" / "toys-quick.toml").read_text()
    suite = re.sub(r"^forget = .*$", 'forget = ["car"]', suite, flags=re.MULTILINE)
    suite = re.sub(r"^evaluate = .*$", 'evaluate = ["car", "owl"]', suite, flags=re.MULTILINE)
    suite, count = re.subn(r"^steps = .*$", "steps = 2", suite, flags=re.MULTILINE)
    assert count == 1
    (tmp_path / "toys.toml").write_text(suite)
    run = ("run", tmp_path / "toys.toml", "--device", "cpu", "-f", "csv", "-m", "nudge")
    for more in ((), ("--evaluator", "plain-hues")):
        code, out, err = call(*run, *more)
        assert code == 0, err
        assert "nudge" in {line.partition(",")[0] for line in out.splitlines()}
    by_judge = {}
    for path in tmp_path.glob("default-store/v1/results/*/nudge@0.parquet"):
        table = pd.read_parquet(path)
        assert set(table.status) == {"ok"}
        by_judge[table.judge[0]] = table
    assert set(by_judge) == {"clip", "plain-hues"}
    assert by_judge["clip"].label.notna().all()
    scored = by_judge["plain-hues"]
    assert scored.label.notna().equals(scored.concept == "car")  # it knows no colour of an owl
    unedited = pd.read_parquet(next(tmp_path.glob("default-store/v1/results/*/unedited@0.parquet")))
    assert set(unedited.sample_key).isdisjoint(by_judge["clip"].sample_key)


def test_what_is_written_is_formatted_and_says_nothing_unfilled(packages):
    rules = ["--select", "E,F,I,UP,B,D,RUF,TC", "--ignore", "D203,D213,D103,RUF001,RUF002"]
    style = ["--no-cache", "--isolated", "--line-length", "120", "--target-version", "py311"]
    for folder in packages.values():
        for command in (["check", *rules], ["format", "--check"]):
            ended = subprocess.run(
                [sys.executable, "-m", "ruff", *command, *style, "."],
                cwd=folder, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert ended.returncode == 0, ended.stdout
        for path in folder.rglob("*"):
            if path.is_file() and "dist-info" not in str(path):
                assert not re.search(r"\$\w|MODULE|TAIL|NAME|TODO", path.read_text()), path


@pytest.mark.slow  # mypy reads torch
def test_what_is_written_is_typed(packages):
    for folder in packages.values():
        ended = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), "src"],
            cwd=folder, env={**os.environ, "MYPYPATH": f"src:{ROOT}"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout


# ---------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("arguments", "code", "what", "hint"),
    [
        ("method Two_Words", 2, "'Two_Words' is no name", "unlearnbench new method two-words"),
        ("method 3d", 2, "'3d' is no name", "unlearnbench new method d"),
        ("method two--words", 2, "is no name", "two-words"),
        ("method ../up", 2, "is no name", "unlearnbench new method up"),
        ("method uce", 2, "the method 'uce' exists already, in unlearnbench-uce", "unlearnbench list methods"),
        ("method clip", 2, "the evaluator 'clip' exists already", "choose another name"),
        ("dataset emojiworld", 2, "the dataset 'emojiworld' exists already", "unlearnbench list datasets"),
        ("dataset suites", 2, "unlearnbench-suites 0.1.0 is installed already", "choose another name"),
        ("evaluator none", 2, "would be called None", "choose another name"),
        ("evaluator exception", 2, "would be called Exception", "choose another name"),
        ("method method", 2, "would be called Method, like one that the package imports", "choose another name"),
        ("dataset path", 2, "would be called Path", "choose another name"),
        ("judge nudge", 2, "'judge' is not one of", "--help"),
        ("method there", 2, "unlearnbench-there is there already", "--path DIR"),
        ("method nudge --path {tmp}/nowhere", 2, "nowhere is no folder", "--path DIR"),
    ],
)
def test_a_mistake_is_two_lines_and_writes_nothing(call, tmp_path, monkeypatch, arguments, code, what, hint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unlearnbench-there").write_text("a file")
    before = sorted(tmp_path.rglob("*"))
    found, out, err = call("new", *arguments.format(tmp=tmp_path).split())
    assert (found, out) == (code, "")
    lines = err.splitlines()
    assert len(lines) == 2, err
    assert what in lines[0]
    assert hint in lines[1]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    written = []
    write = Path.write_text

    def full(path, text, **options):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(PrerequisiteError, match=r"cannot write .*unlearnbench-nudge: No space left"):
        new("method", "nudge", tmp_path, load_plugins())
    assert len(written) == 3
    assert not list(tmp_path.iterdir())


def test_a_data_set_needs_the_default_suite(tmp_path):
    bare = load_plugins(environ={"UNLEARNBENCH_DISABLE_PLUGINS": "unlearnbench-suites"})
    with pytest.raises(PrerequisiteError, match="emoji-quick, which is not installed") as error:
        new("dataset", "toys", tmp_path, bare)
    assert "pip install unlearnbench-suites" in error.value.hint
    assert not list(tmp_path.iterdir())
    assert new("method", "nudge", tmp_path, bare).is_dir()


@pytest.mark.parametrize("kind", KINDS)
def test_every_word_that_a_package_imports_is_refused_as_its_name(kind, tmp_path):
    """A class that hides an import would fail only when the package is used."""
    folder = new(kind, "nudge", tmp_path, load_plugins())
    words = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom | ast.Import):
                words |= {alias.name for alias in node.names if re.fullmatch(r"[A-Z][a-z0-9]+", alias.name)}
    words -= {"Nudge"}
    assert words
    for word in words | {name for name in vars(builtins) if re.fullmatch(r"[A-Z][a-z]+", name)}:
        with pytest.raises(UserError, match=f"would be called {word}"):
            new(kind, word.lower(), tmp_path, load_plugins())


# ---------------------------------------------------------------- our own plugins have the same form
NOTHING_TO_CHECK = {
    "llava": "it judges with a checkpoint that no package ships",
    "nudenet": "its detector is an optional extra, under the AGPL",
}
WITHOUT_SCAFFOLD = {"drift": "it is a set evaluator, and `new` writes none"}
SEVERAL = {"controls": "its methods are modules of their own names"}
OWN = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))


def package_of(folder):
    """Return the name of a plugin's package."""
    return f"unlearnbench_{folder.name.replace('-', '_')}"


def kinds_of(folder):
    """Return what a plugin of ours provides, as kinds of the scaffold, from its source."""
    tree = ast.parse((folder / "src" / package_of(folder) / "__init__.py").read_text())
    hooks = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return [kind for kind in KINDS if f"unlearnbench_{kind}s" in hooks]


def keys(table, prefix=""):
    found = set()
    for key, value in table.items():
        found |= keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"}
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    place = tmp_path_factory.mktemp("written")
    return {kind: new(kind, "nudge", place / kind, load_plugins()) for kind in KINDS if (place / kind).mkdir() is None}


@pytest.mark.parametrize("folder", OWN, ids=lambda p: p.name)
def test_our_plugins_have_the_files_of_the_scaffold(folder, written):
    kinds = kinds_of(folder)
    assert bool(kinds) != (folder.name in WITHOUT_SCAFFOLD)
    for kind in kinds:
        files = {p.relative_to(written[kind]).as_posix() for p in written[kind].rglob("*") if p.is_file()}
        content = {p for p in files if p.endswith(".toml") and p != "pyproject.toml"}
        exempt = {"tests/test_conformance.py"} if folder.name in NOTHING_TO_CHECK else set()
        exempt |= {f"src/unlearnbench_nudge/{kind}.py"} if folder.name in SEVERAL else set()
        for file in files - content - exempt - {"tests/test_nudge.py"}:
            assert (folder / file.replace("unlearnbench_nudge", package_of(folder))).is_file(), file
    assert list((folder / "tests").glob("test_*.py"))


@pytest.mark.parametrize("folder", OWN, ids=lambda p: p.name)
def test_our_plugins_have_the_pyproject_of_the_scaffold(folder, written):
    own = tomllib.loads((folder / "pyproject.toml").read_text())
    for kind in kinds_of(folder):
        model = tomllib.loads((written[kind] / "pyproject.toml").read_text())
        points = own["project"]["entry-points"].pop("unlearnbench")
        assert points == {folder.name: package_of(folder)}
        assert model["project"]["entry-points"].pop("unlearnbench") == {"nudge": "unlearnbench_nudge"}
        optional = {key for key in keys(own) if key.startswith("project.optional-dependencies.")}
        assert keys(own) - optional == keys(model)
        for fixed in ("readme", "requires-python", "license"):
            assert own["project"][fixed] == model["project"][fixed]
        assert own["project"]["name"] == f"unlearnbench-{folder.name}"
        assert own["build-system"]["build-backend"] == model["build-system"]["build-backend"]
        assert own["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/{package_of(folder)}"]
        own["project"]["entry-points"]["unlearnbench"] = points


def shape(path):
    """Return the form of a plugin's __init__: what it imports, and decorator, name and result of every function."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    imports, hooks = set(), {}
    for node in tree.body[1:]:
        if isinstance(node, ast.ImportFrom):
            imports.add(node.module)
        elif isinstance(node, ast.FunctionDef):
            assert ast.get_docstring(node).startswith("Register ")
            assert [type(part) for part in node.body[1:]] == [ast.Return]
            assert isinstance(node.body[1].value, ast.List | ast.ListComp)
            assert not node.args.args
            hooks[node.name] = ([ast.unparse(d) for d in node.decorator_list], ast.unparse(node.returns))
        else:
            assert isinstance(node, ast.Assign), ast.unparse(node)  # a folder, as in the scaffold of a data set
    return imports, hooks


@pytest.mark.parametrize("folder", OWN, ids=lambda p: p.name)
def test_our_plugins_have_the_light_init_of_the_scaffold(folder, written):
    imports, hooks = shape(folder / "src" / package_of(folder) / "__init__.py")
    assert imports <= {"pathlib", "unlearnbench.api"}
    assert all(decorators == ["hookimpl"] for decorators, _ in hooks.values())
    plugins = load_plugins()
    for kind in kinds_of(folder):
        _, model = shape(written[kind] / "src" / "unlearnbench_nudge" / "__init__.py")
        assert hooks[f"unlearnbench_{kind}s"] == model[f"unlearnbench_{kind}s"]
        for entry in plugins.registry(f"{kind}s"):
            if entry.plugin.distribution == f"unlearnbench-{folder.name}":
                module = package_of(folder)
                assert entry.spec.target.startswith(f"{module}." if folder.name in SEVERAL else f"{module}.{kind}:")
                if kind != "dataset":
                    assert entry.spec.params.startswith(f"{module}.params:")
