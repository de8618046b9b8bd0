"""The how-to pages: their packages conform, their suite can be planned, their hooks register what they say."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from unlearnbench.checks import checks_for, run_checks, subjects
from unlearnbench.cli import main
from unlearnbench.plugins import load_plugins

HERE = Path(__file__).parent


@pytest.fixture
def write_page(tmp_path):
    """Return a function that writes the package of a page: its folder."""
    spec = importlib.util.spec_from_file_location("tests_docs", HERE / "test_docs.py")
    docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docs)

    def write(name):
        for file, code in docs.blocks(docs.DOCS / "how-to" / name, "file").items():
            path = tmp_path / "package" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code, encoding="utf-8")
        return tmp_path / "package"

    yield write
    for module in [m for m in sys.modules if m.startswith(("unlearnbench_rankone", "unlearnbench_palette"))]:
        del sys.modules[module]
    importlib.invalidate_caches()


@pytest.mark.parametrize("page", ["write-a-method.md", "write-an-evaluator.md", "write-a-data-set.md"])
def test_the_package_of_a_page_conforms(write_page, tmp_path, page):
    from PIL import Image

    for name, colour in (("cup", "white"), ("pan", "black"), ("pot", "red")):
        Image.new("RGB", (4, 4), colour).save(tmp_path / f"{name}.png")
    params = {"folder": str(tmp_path)} if page == "write-an-evaluator.md" else {}
    with subjects(str(write_page(page)), params) as found:
        (subject,) = found
        report = run_checks(checks_for(subject.kind), subject)
    assert not [f"{result.name}: {result.reason}" for result in report.results if not result.ok]
    assert report.ok


def code_blocks(name, language):
    text = (HERE.parent / "docs" / "how-to" / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_suite_of_the_page_can_be_planned(tmp_path, capsys):
    (suite,) = code_blocks("write-a-suite.md", "toml")
    (tmp_path / "mine.toml").write_text(suite, encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["run", str(tmp_path / "mine.toml"), "--method", "uce", "--dry-run"])
    assert not end.value.code
    # Two edits and the unedited model draw six concepts, prompt-swap draws two: ten prompts, two seeds.
    assert "images    400" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("page", "kind", "name"), [("write-a-suite.md", "suites", "mine"), ("add-a-model-family.md", "models", "my-sd")]
)
def test_the_hook_of_the_page_registers_what_it_says(install, page, kind, name):
    (code,) = code_blocks(page, "python")
    file = install("unlearnbench-mine", code)
    entry = load_plugins().registry(kind).get(name)
    assert entry.plugin.file == str(file)
