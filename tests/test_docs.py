"""The documentation says what the code does: its examples run, its tables are complete, its links lead somewhere."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import shlex
import sys
import tomllib
from pathlib import Path

import click
import pytest

from unlearnbench import api, hookspecs
from unlearnbench.board.cells import Cell, Interval
from unlearnbench.board.columns import COLUMNS
from unlearnbench.board.data import Board
from unlearnbench.cli import cli, main
from unlearnbench.errors import ExitCode
from unlearnbench.results.table import SCHEMA
from unlearnbench.run.execute import Reuse
from unlearnbench.spec import Column, Cost, EditTask, ModelSpec, Ref, SamplerSpec, SampleTask, ScoreTask, Suite

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^>]+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


def named(path):
    return path.relative_to(ROOT).as_posix()


def blocks(path, mark):
    """Return the code blocks below a comment `<!-- mark: name -->` or `<!-- mark -->`, by name."""
    found = {}
    for block in BLOCK.finditer(path.read_text(encoding="utf-8")):
        kind, _, name = (block["mark"] or "").partition(": ")
        if kind == mark:
            assert name not in found
            found[name] = block["code"]
    assert found
    return found


def section(page, heading):
    """Return the text below a heading, to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"no heading '{heading}'"
    return found[1]


def table(text):
    """Return the rows of the first table of a text, without header and rule, as lists of cells."""
    lines = re.search(r"^\|.*?(?=^[^|]|^$|\Z)", text, re.MULTILINE | re.DOTALL)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


# ---------------------------------------------------------------- the packages of the how-to pages
@pytest.fixture
def install_page(tmp_path, monkeypatch):
    """Return a function that writes the package of a page to disk and installs it, as its pyproject.toml says."""
    packages = []

    def install(name):
        folder = tmp_path / Path(name).stem
        for file, code in blocks(DOCS / name, "file").items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(code, encoding="utf-8")
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        info = folder / "src" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        points = project["entry-points"]["unlearnbench"]
        (info / "entry_points.txt").write_text(
            "[unlearnbench]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
        )
        packages.extend(points.values())
        monkeypatch.syspath_prepend(str(folder / "src"))
        importlib.invalidate_caches()
        return folder

    yield install
    for package in packages:
        for module in [m for m in sys.modules if m == package or m.startswith(f"{package}.")]:
            del sys.modules[module]


@pytest.fixture
def call(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert not end.value.code, err
        return out

    return call


def test_the_method_of_the_how_to_passes_its_test_and_reaches_the_board(install_page, fake, call, tmp_path):
    folder = install_page("how-to/write-a-method.md")
    test = {}
    exec((folder / "tests" / "test_rankone.py").read_text(), test)
    work = tmp_path / "work"
    work.mkdir()
    test["test_the_concept_gets_the_keys_of_its_target"](work)
    assert "share of the way to the target" in call("show", "rank-one")
    out = call(
        "run", "letters-quick", "-m", "rank-one", "-c", "alpha", "-p", "strength=0.5", "--device", "cpu", "-f", "csv"
    )
    (line,) = [line for line in out.splitlines() if line.startswith("rank-one[strength=0.5],forget,")]
    assert ",6,0,0," in line  # three prompts and two seeds: all scored, none failed


def test_a_method_that_cannot_do_an_edit_says_so(install_page):
    install_page("how-to/write-a-method.md")
    method = importlib.import_module("unlearnbench_rankone.method")
    params = importlib.import_module("unlearnbench_rankone.params")
    request = api.Request(forget=(api.ForgetConcept(id="cat", kind="object", name="cat", target=""),))
    assert method.RankOne(params.RankOneParams()).supports(None, request) == "it needs words for the target"


def test_the_evaluator_of_the_how_to_judges_colours(install_page, fake, call, tmp_path, monkeypatch):
    from PIL import Image

    install_page("how-to/write-an-evaluator.md")
    monkeypatch.chdir(tmp_path)
    references = tmp_path / "references"
    references.mkdir()
    Image.new("RGB", (4, 4), "black").save(references / "omega.png")
    Image.new("RGB", (4, 4), "white").save(references / "alpha.png")
    evaluator = importlib.import_module("unlearnbench_palette.evaluator")
    judge = evaluator.Palette(importlib.import_module("unlearnbench_palette.params").PaletteParams())
    judge.setup(None)
    question = {"kind": "object", "target": {"id": "omega", "display": "omega"}, "description": "a letter"}
    asked = {
        name: api.Question(concept=name, display=name, classes={name: name, "omega": "omega"}, **question)
        for name in ("alpha", "beta")
    }
    samples = [api.Sample(colour, Image.new("RGB", (8, 8), colour), "") for colour in ("white", "black")]
    assert [score.label for score in judge.score(samples, asked["alpha"])] == [True, False]
    assert [score.label for score in judge.score(samples, asked["beta"])] == [None, None]
    out = call("run", "letters-quick", "--evaluator", "palette", "-p", "palette.sharpness=4", "--device", "cpu")
    assert "judge palette" in out
    assert "unscored" in out


def test_the_data_set_of_the_how_to_is_listed_and_planned(install_page, fake, call):
    install_page("how-to/write-a-data-set.md")
    assert "teapot -> mug" in call("list", "concepts", "--dataset", "kitchen")
    out = call(
        "run", "kitchen-quick", "--method", "shift", "--model", "tiny", "--evaluator", "brightness", "--dry-run",
        "-c", "Tea-Kettle",
    )  # fmt: skip
    # Two concepts with three prompts and two seeds: unedited, edited, and the forgotten one's target prompts.
    assert re.search(r"images +30$", out, re.MULTILINE)


def test_the_edit_file_loads_without_unlearnbench(fake, call, tmp_path):
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors import safe_open

    out = tmp_path / "new"
    call("edit", "-m", "shift", "-c", "x", "--model", "tiny", "-o", out, "--device", "cpu", "--pipeline")
    code = blocks(DOCS / "reference/edit-file.md", "snippet")["load"]
    code = code.replace('"model"', repr(str(fake))).replace('"edit.safetensors"', repr(str(out / "edit.safetensors")))
    found = {}
    exec(code, found)
    wanted = UNet2DConditionModel.from_pretrained(out / "pipeline" / "unet").state_dict()
    base = UNet2DConditionModel.from_pretrained(fake / "unet").state_dict()
    loaded = found["pipe"].unet.state_dict()
    assert all(torch.equal(loaded[name], wanted[name]) for name in wanted)
    assert any(not torch.equal(loaded[name], base[name]) for name in base)
    with safe_open(out / "edit.safetensors", framework="pt") as edit:
        documented = [names(row[0])[0] for row in table(section(page("reference/edit-file.md"), "Header"))]
        assert sorted(documented) == sorted(edit.metadata())
        assert f"`{edit.metadata()['format']}`" in page("reference/edit-file.md")


# ---------------------------------------------------------------- commands
def commands(command=cli, words=()):
    """Yield every command and group: (words, command)."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*words, name))


LEAVES = [(words, c) for words, c in commands() if not isinstance(c, click.Group) or c is cli]


@pytest.mark.parametrize(("words", "command"), LEAVES, ids=[" ".join(words) or "-" for words, _ in LEAVES])
def test_every_option_of_every_command_is_on_the_page(words, command):
    rows = table(section(page("reference/command-line.md"), " ".join(["unlearnbench", *words])))
    documented = {tuple(names(row[0])): row for row in rows}
    options = {tuple(p.opts): p for p in command.params if isinstance(p, click.Option)}
    expected = [*options, *([("-h", "--help")] if command is cli else [])]
    assert sorted(documented) == sorted(expected)
    for option, parameter in options.items():
        if len(documented[option]) == 3 and (parameter.required or isinstance(parameter.default, str | int)):
            plain = parameter.default is not False
            default = "required" if parameter.required else str(parameter.default) if plain else ""
            assert documented[option][1] == default, option


def test_the_page_has_every_exit_code_and_every_way_to_reuse():
    text = page("reference/command-line.md")
    rows = table(text)
    assert [int(row[0]) for row in rows] == [int(code) for code in ExitCode]
    assert all(f"`{word}`:" in text for word in Reuse.__args__)


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES], ids=named)
def test_every_command_line_in_the_documentation_parses(path):
    known = dict(commands())
    for block in BLOCK.finditer(path.read_text(encoding="utf-8")):
        for line in block["code"].splitlines() if block["language"] == "bash" else ():
            for part in line.split("&&"):
                words = shlex.split(part, comments=True)
                if words[:1] != ["unlearnbench"]:
                    continue
                depth = 3 if words[1] == "store" else 2
                command = known[tuple(words[1:depth])]
                command.make_context(" ".join(words[:depth]), words[depth:])


# ---------------------------------------------------------------- tables
def test_every_hook_and_every_field_of_its_spec_is_on_the_page():
    text = page("reference/hooks.md")
    hooks = {name: f for name, f in vars(hookspecs).items() if name.startswith("unlearnbench_")}
    headings = re.findall(r"^## `(.+)`$", text, re.MULTILINE)
    assert headings == [f"{name}{str(inspect.signature(f)).replace(chr(39), '')}" for name, f in hooks.items()]
    for heading in headings:
        spec = getattr(api, re.search(r"list\[(\w+)\]", heading)[1])
        rows = table(section(text, f"`{heading}`"))
        assert [names(row[0])[0] for row in rows] == [field.name for field in dataclasses.fields(spec)]


def test_every_column_of_the_scores_table_is_on_the_page():
    rows = table(page("reference/scores-table.md"))
    documented = [(names(row[0])[0], row[1]) for row in rows]
    assert documented == [(f.name, f"{f.type}{', null' if f.nullable else ''}") for f in SCHEMA]


def test_every_column_and_interval_of_the_board_is_on_the_page():
    text = page("reference/board.md")
    documented = [(names(row[0])[0], row[1]) for row in table(section(text, "Columns"))]
    assert documented == [(name, COLUMNS[name].title) for name in Column.__args__]
    intervals = [names(row[0])[0] for row in table(section(text, "Intervals"))]
    assert sorted(intervals) == sorted(Interval.__args__)
    formats = section(text, "Formats")
    assert set(Cell.model_fields) <= set(names(formats))
    fields = {alias if (alias := field.alias) else name for name, field in Board.model_fields.items()}
    assert {names(row[0])[0] for row in table(section(text, "Fields of json"))} == fields


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("Fields", Suite),
        ("`sampler`", SamplerSpec),
        ("`model`", ModelSpec),
        ("`evaluator`", Ref),
        ("`cost`", Cost),
    ],
)
def test_every_field_of_a_suite_is_on_the_page(heading, model):
    rows = {names(row[0])[0]: row[1] for row in table(section(page("reference/suite-file.md"), heading))}
    assert list(rows) == list(model.model_fields)
    for name, field in model.model_fields.items():
        default = field.default
        if field.is_required():
            assert rows[name] == "required"
        elif default is None:
            assert rows[name] in ("none", "the model's own")
        elif isinstance(default, str | int | float):
            assert rows[name] == str(default)
        elif isinstance(default, tuple):
            assert rows[name] == ", ".join(default)


def test_every_field_of_a_task_is_on_the_page_about_keys():
    (row,) = table(page("explanation/what-enters-a-key.md"))
    for cell, task in zip(row[1:], (EditTask, SampleTask, ScoreTask), strict=True):
        assert names(cell) == list(task.model_fields)


@pytest.mark.parametrize("name", ["reference/suite-file.md", "how-to/run-on-stable-diffusion.md"])
def test_the_suites_of_the_documentation_are_valid(name):
    for code in blocks(DOCS / name, "suite").values():
        assert Suite.model_validate(tomllib.loads(code)).forget


# ---------------------------------------------------------------- links
def anchors(path):
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES], ids=named)
def test_links_lead_somewhere(path):
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_names_every_page():
    index = page("README.md")
    linked = {(DOCS / link).resolve() for link in re.findall(r"\]\(([^)#]+)\)", index)}
    assert {p.resolve() for p in PAGES if p.name != "README.md"} <= linked


def test_decisions_are_numbered_and_short():
    decisions = sorted((DOCS / "adr").glob("*.md"))
    for number, path in enumerate(decisions, 1):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert path.name.startswith(f"{number:04d}-")
        assert lines[0].startswith(f"# {number}. ")
        assert len(lines) <= 25
        for part in ("**Context.**", "**Decision.**", "**Consequences.**"):
            assert any(line.startswith(part) for line in lines)
