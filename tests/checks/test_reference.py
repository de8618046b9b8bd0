"""The page about the checks says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unlearnbench import testing
from unlearnbench.checks import checks_for
from unlearnbench.checks.spec import DATASET_SPEC, SPEC
from unlearnbench.testing import pytest_plugin

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "checks.md"
SECTIONS = {
    "Every plugin": SPEC,
    "Methods": [check for check in checks_for("method") if check not in SPEC],
    "Evaluators": [check for check in checks_for("evaluator") if check not in SPEC],
    "Set evaluators": [check for check in checks_for("set_evaluator") if check not in SPEC],
    "Data sets": [check for check in checks_for("dataset") if check not in DATASET_SPEC],
}


def rows(checks):
    return [f"| `{check.name}` | {check.question} |" for check in checks]


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_page_lists_every_check_with_its_question(heading):
    text = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[1]
    assert [line for line in text.splitlines() if line.startswith("| `check_")] == rows(SECTIONS[heading])


def test_a_data_set_gets_the_first_checks_of_every_plugin():
    assert [check.name for check in DATASET_SPEC] == [check.name for check in SPEC[: len(DATASET_SPEC)]]
    assert "The first four" in PAGE.read_text(encoding="utf-8")
    assert len(DATASET_SPEC) == 4


def test_every_question_is_one_sentence():
    for checks in SECTIONS.values():
        for check in checks:
            assert check.question.endswith("?"), check.name
            assert check.name.startswith("check_")
            assert len(check.name) <= 44


def test_the_page_about_tests_lists_every_name_and_fixture():
    text = (PAGE.parent / "testing.md").read_text(encoding="utf-8")
    listed = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in text.splitlines() if line.startswith("| `")]
    fixtures = [
        name for name, value in vars(pytest_plugin).items() if type(value).__name__ == "FixtureFunctionDefinition"
    ]
    assert sorted(name for cell in listed for name in cell) == sorted([*testing.__all__, *fixtures])
    assert len(fixtures) == 4
    assert all(getattr(testing, name) for name in testing.__all__)
