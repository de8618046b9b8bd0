"""The generated parts of the reference are those that the code gives now."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "docs" / "generate.py"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["hooks.md", "parameters.md"])
def test_the_page_is_what_the_code_says(generate, name):
    text = (generate.REFERENCE / name).read_text(encoding="utf-8")
    assert text == generate.render(name), f"docs/reference/{name} is stale: type `python docs/generate.py`"


def test_every_field_has_a_meaning_and_every_plugin_a_section(generate):
    assert "|  |" not in generate.hooks() + generate.all_parameters()
    for folder in generate.ROOT.glob("plugins/*/src/*/params.py"):
        assert f"of unlearnbench-{folder.parents[2].name}:" in generate.all_parameters()


def test_a_page_without_its_mark_is_an_error(generate, tmp_path, monkeypatch):
    (tmp_path / "hooks.md").write_text("# Hooks\n")
    monkeypatch.setattr(generate, "REFERENCE", tmp_path)
    with pytest.raises(ValueError, match="no line"):
        generate.render("hooks.md")
