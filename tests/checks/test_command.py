"""`unlearnbench check`: names and folders, what it prints, reports and exit codes."""

from __future__ import annotations

import json
import sys

import pytest

PYPROJECT = """
[project]
name = "acme-signs"
version = "0.3"
dependencies = ["unlearnbench>=0.1.0"]

[project.entry-points.unlearnbench]
signs = "acme_signs"
"""
PLUGIN = """
from unlearnbench.api import DatasetSpec, hookimpl

@hookimpl
def unlearnbench_datasets():
    return [DatasetSpec("signs", "acme_signs.data:Signs", "letters as signs", "1", "CC0-1.0", "none", "{digest}")]
"""
METHOD = """
from unlearnbench.api import MethodSpec, hookimpl

@hookimpl
def unlearnbench_methods():
    shift, params = "unlearnbench.testing.shift:Shift", "unlearnbench.testing.fakes:ShiftParams"
    return [MethodSpec("signal", shift, params, "a method", "none", quick={{{quick}}})]
"""
DATA = """
from unlearnbench.testing.fakes import Letters


class Signs(Letters):
    pass
"""


@pytest.fixture
def package(tmp_path):
    """Write a package that is not installed, and return its folder."""
    from unlearnbench.checks.dataset import content_digest
    from unlearnbench.testing import Letters

    folder = tmp_path / "acme-signs"
    home = folder / "src" / "acme_signs"
    home.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (home / "__init__.py").write_text(PLUGIN.format(digest=content_digest(Letters())))
    (home / "data.py").write_text(DATA)
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "acme_signs"]:
        del sys.modules[name]


def test_a_package_that_is_not_installed_is_checked_where_it_is(package, run_unlearnbench):
    path = list(sys.path)
    result = run_unlearnbench("check", package)
    assert result.exit_code == 0, result.stdout + result.stderr
    assert result.stdout.startswith("dataset signs  acme-signs 0.3\n")
    assert "dataset signs conforms: 15 passed in " in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert sys.path == path
    assert not list(package.rglob("*.dist-info"))


def test_a_method_is_checked_with_what_it_calls_quick_unless_the_caller_gives_more(package):
    from unlearnbench.checks import subjects

    home = package / "src" / "acme_signs" / "__init__.py"
    home.write_text(METHOD.format(quick='"amount": 0.25'))
    for given, amount in (({}, 0.25), ({"amount": 2.0}, 2.0)):
        with subjects(str(package), given) as (subject,):
            assert subject.params().amount == amount
            assert subject.given == {"amount": amount}


def test_what_a_method_calls_quick_is_refused_if_it_has_no_such_parameter(package):
    from unlearnbench.checks import subjects
    from unlearnbench.errors import UserError

    home = package / "src" / "acme_signs" / "__init__.py"
    home.write_text(METHOD.format(quick='"amont": 0.25'))
    with pytest.raises(UserError, match=r"parameter of signal.*amont"), subjects(str(package)):
        pass


def test_a_failure_is_told_with_its_reason_and_has_exit_code_4(package, run_unlearnbench, tmp_path):
    home = package / "src" / "acme_signs"
    home.joinpath("__init__.py").write_text(PLUGIN.format(digest="ub1:0"))
    report = tmp_path / "report.json"
    result = run_unlearnbench("check", package, "--report", report)
    assert result.exit_code == 4
    lines = result.stdout.splitlines()
    (number,) = [number for number, line in enumerate(lines) if line.startswith("  failed")]
    assert "check_version_pins_content" in lines[number]
    assert "raise `version`" in " ".join(line.strip() for line in lines[number + 1 :])
    assert "does not conform: 1 failed, 14 passed in " in lines[-1]
    assert max(map(len, lines)) <= 80
    written = json.loads(report.read_text())
    assert written["ok"] is False
    assert written["subjects"][0]["counts"] == {"failed": 1, "passed": 14}
    expected = run_unlearnbench("check", package, "-x", "check_version_pins_content=work in progress")
    assert expected.exit_code == 0
    assert "1 xfail" in expected.stdout


def test_a_markdown_report_is_written_in_one_step(fake_plugins, run_unlearnbench, tmp_path):
    report = tmp_path / "report.md"
    assert run_unlearnbench("check", "brightness", "--report", report).exit_code == 0
    assert report.read_text().startswith("## evaluator brightness\n")
    assert not list(tmp_path.glob(".report*"))


def test_the_fakes_conform(fake_plugins, run_unlearnbench):
    for name in ("shift", "letters"):
        result = run_unlearnbench("check", name)
        assert result.exit_code == 0, result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "what", "hint"),
    [
        (("leters",), 2, "unknown method, evaluator, data set or package folder 'leters'", "did you mean 'letters'?"),
        (("letters", "-x", "check_nothing=because"), 2, "unknown check 'check_nothing'", "did you mean"),
        (("letters", "-x", "check_licence"), 2, "not of the form CHECK=REASON", "type for example -x"),
        (("letters", "-p", "threshold=0.5"), 2, "takes no parameter", "leave -p out"),
        (("brightness", "-p", "threshold=2"), 2, "less than or equal to 1", "unlearnbench show brightness"),
        (("letters", "--report", "r.txt"), 2, "a report is .json or .md", "--report r.md"),
        (("letters", "--report", "nowhere/r.md"), 3, "nowhere is no folder", "--report"),
    ],
)
def test_mistakes_are_two_lines(fake_plugins, run_unlearnbench, arguments, code, what, hint):
    result = run_unlearnbench("check", *arguments)
    assert result.exit_code == code
    first, second = result.stderr.splitlines()
    assert what in first
    assert hint in second
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "No such file"),
        ({"pyproject.toml": "[project"}, "is no TOML"),
        ({"pyproject.toml": "[project]\nname = 'acme'\n"}, "names no entry point of the group unlearnbench"),
        ({"pyproject.toml": PYPROJECT}, "has no module acme_signs"),
        ({"pyproject.toml": PYPROJECT, "acme_signs.py": "raise ValueError('no')"}, "cannot be loaded: ValueError: no"),
        (
            {"pyproject.toml": PYPROJECT, "acme_signs.py": ""},
            "registers no method, evaluator, set evaluator or data set",
        ),
    ],
)
def test_a_folder_that_is_no_package_is_told(tmp_path, run_unlearnbench, files, what):
    folder = tmp_path / "acme"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    result = run_unlearnbench("check", folder)
    sys.modules.pop("acme_signs", None)
    assert result.exit_code == 2
    assert what in result.stderr
    assert len(result.stderr.splitlines()) == 2


def test_a_run_with_the_fakes_makes_a_board(fake_plugins, run_unlearnbench, temporary_store):
    result = run_unlearnbench("run", "letters-quick", "--method", "shift", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "shift" in result.stdout
    assert temporary_store.is_dir()
