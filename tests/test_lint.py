"""Every rule of `lint` is broken by a planted case that it alone finds, and by nothing that is shipped."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from unlearnbench.api import Concept
from unlearnbench.lint import RULES, SUITE_RULES, estimated, lint_dataset, lint_suite
from unlearnbench.lint.rules import too_long
from unlearnbench.plugins import load_plugins
from unlearnbench.suites import load_suite
from unlearnbench.testing.fakes import Letters
from unlearnbench.words import names

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "lint.md"
CONCEPTS = Letters().concepts


def planted(**updates):
    """Return the letters with other values in alpha; 'prompts__direct' names an inner field."""
    values = CONCEPTS["alpha"].model_dump()
    for path, value in updates.items():
        *outer, last = path.split("__")
        inner = values
        for part in outer:
            inner = inner[part]
        inner[last] = value
    return {**CONCEPTS, "alpha": Concept.model_validate(values)}


def renamed(**others):
    """Return letters under other ids: 'beta="alphas"' calls the concept beta so."""
    return {others.get(n, n): c.model_copy(update={"id": others.get(n, n)}) for n, c in CONCEPTS.items()}


PLANTED = {
    "no indirect prompt": ("counts", planted(prompts__indirect=[], prompts__target_indirect=[])),
    "fewer direct prompts": ("counts", planted(prompts__direct=["alpha"], prompts__target_direct=["omega"])),
    "fewer target prompts": ("counts", planted(prompts__target_direct=["omega on a wall"])),
    "fewer indirect targets": ("counts", planted(prompts__target_indirect=[])),
    "fewer adversarial targets": ("counts", planted(prompts__adversarial=["qx alpha lum"])),
    "no edit pair": ("counts", planted(edit=[])),
    "too long": ("tokens", planted(description="alpha", edit=[{"prompt": "alpha " * 40, "target": "omega"}])),
    "id of other words": ("spelling", renamed(beta="bta")),
    "misspelt neighbour": ("spelling", planted(neighbours=["gammma"])),
    "shared alias": ("shared-name", planted(aliases=["Del-ta"])),
    "direct without a name": ("direct-unnamed", planted(prompts__direct=["a wall", "alpha on paper"])),
    "indirect with the name": ("indirect-named", planted(prompts__indirect=["the Alpha of the alphabet"])),
    "indirect with a plural": ("indirect-named", planted(prompts__indirect=["several alphas"])),
    "indirect with an alias": ("indirect-named", planted(aliases=["aleph"], prompts__indirect=["aleph, in Greek"])),
    "target with the name": ("target-named", planted(prompts__target_indirect=["alpha again"])),
    "target of an attack with the name": (
        "target-named",
        planted(prompts__adversarial=["qx lum"], prompts__target_adversarial=["alpha again"]),
    ),
    "edit target with the name": ("target-named", planted(edit=[{"prompt": "a big alpha", "target": "no alpha"}])),
    "pair that maps to itself": ("pair-unchanged", planted(edit=[{"prompt": "a sign", "target": "A sign"}])),
    "evaluation prompt twice": ("prompt-twice", planted(prompts__indirect=["Letter number 2"])),
    "attack that is a direct prompt": (
        "prompt-twice",
        planted(prompts__adversarial=["Alpha on paper"], prompts__target_adversarial=["omega on paper"]),
    ),
    "edit prompt twice": ("prompt-twice", planted(edit=[{"prompt": "a big alpha", "target": "omega"}] * 2)),
    "identical leak": ("prompt-leak", planted(edit=[{"prompt": "Alpha on paper!", "target": "omega"}])),
    "near leak": (
        "prompt-leak",
        planted(
            prompts__direct=["a drawing of alpha", "alpha written in white chalk on that old blackboard"],
            edit=[{"prompt": "alpha written in white chalk on an old blackboard", "target": "omega"}],
        ),
    ),
    "target is itself": ("target-retained", planted(target={"id": "alpha", "display": "omega"})),
    "target is retained": ("target-retained", planted(target={"id": "beta", "display": "omega"})),
    "unknown overlap": ("overlaps", planted(overlaps=["zeta"])),
    "its own neighbour": ("overlaps", planted(neighbours=["alpha"])),
    "prompt with another concept": ("overlaps", planted(prompts__direct=["alpha and beta", "alpha on paper"])),
    "no neighbour": ("neighbours", {n: c.model_copy(update={"neighbours": ()}) for n, c in CONCEPTS.items()}),
}


def rules(report):
    return {found.rule for found in report.findings}


@pytest.mark.parametrize(("rule", "concepts"), PLANTED.values(), ids=PLANTED)
def test_a_planted_violation_is_found_by_its_rule_alone(rule, concepts):
    report = lint_dataset("dataset", "planted", concepts)
    assert rules(report) == {rule}
    assert report.ok == (rule == "neighbours")


def test_every_rule_has_a_planted_violation():
    assert {rule for rule, _ in PLANTED.values()} == {*RULES, "tokens"}


def test_what_breaks_no_rule_is_clean():
    assert lint_dataset("dataset", "letters", CONCEPTS).findings == ()


@pytest.mark.parametrize(
    ("case", "clean"),
    [
        ("a target in overlaps", planted(target={"id": "beta", "display": "omega"}, overlaps=["beta"])),
        ("an overlap may be named", planted(prompts__direct=["alpha, beta", "alpha on paper"], overlaps=["beta"])),
        (
            "attacks on one concept only, with any words",
            planted(prompts__adversarial=["qx alpha beta lum"], prompts__target_adversarial=["one more omega"]),
        ),
        ("a name inside a word is none", planted(prompts__indirect=["the alphabetical first"])),
    ],
)
def test_what_looks_like_a_violation_but_is_none(case, clean):
    assert lint_dataset("dataset", case, clean).findings == ()


def test_a_concept_that_is_debiased_keeps_its_name_and_needs_no_indirect_prompt():
    halves = [
        {"id": n, "display": f"{n} case", "prompt": f"{n} case alpha", "desired": 0.5} for n in ("upper", "lower")
    ]
    changes = {"attributes": halves, "prompts__indirect": [], "prompts__target_indirect": [], "edit": []}
    changes["target"] = {"id": "alpha", "display": "alpha of either case"}
    same = {"prompts__target_direct": ["a drawing of alpha", "alpha on paper"]}
    assert lint_dataset("file", "alpha", {"alpha": planted(**changes, **same)["alpha"]}).findings == ()


# ---------------------------------------------------------------- tokens
def test_tokens_are_counted_by_the_models_tokenizer_or_estimated():
    from unlearnbench.lint import tokens_of

    counted, guessed = tokens_of(load_plugins().shipped_models()["emoji-sd"]), estimated()
    assert (counted.count("a dog"), guessed.count("a dog")) == (2, 2)
    assert counted.limit < guessed.limit == 75
    assert guessed.count("gerberas, 1975") == 2 + 1 + 4


def test_a_prompt_of_just_the_limit_is_none_too_long():
    exact = planted(edit=[{"prompt": "alpha" + " by" * 73, "target": "omega"}])
    over = planted(edit=[{"prompt": "alpha" + " by" * 74, "target": "omega"}])
    assert list(too_long(exact, estimated())) == []
    (found,) = too_long(over, estimated())
    assert "76 tokens, and 75 is the most" in found.message


@pytest.mark.parametrize(
    ("text", "found"),
    [("An ALPHA", "alpha"), ("alphas", "alpha"), ("alphabet", None), ("the alpha-letter", "alpha"), ("a lpha", None)],
)
def test_names_are_whole_words_or_their_plurals(text, found):
    assert names(text, CONCEPTS["alpha"]) == found


# ---------------------------------------------------------------- suites
SUITES = {
    "unknown-concept": {"forget": ("alfa",), "evaluate": ("alfa", "beta")},
    "unknown-plugin": {"evaluator": {"name": "britghness"}},
    "nothing-retained": {"forget": ("alpha",), "evaluate": ("alpha",)},
}


@pytest.mark.parametrize("rule", SUITE_RULES)
def test_a_planted_violation_of_a_suite_is_found_by_its_rule_alone(fake, rule):
    plugins = load_plugins()
    suite = load_suite(plugins, "letters-quick")
    assert lint_suite(suite, Letters(), plugins).findings == ()
    changed = type(suite).model_validate({**suite.model_dump(), **SUITES[rule]})
    report = lint_suite(changed, Letters(), plugins)
    assert rules(report) == {rule}
    assert rule == "nothing-retained" or "did you mean" in report.findings[0].message


def test_a_preset_of_a_method_that_is_not_installed_is_a_warning(fake):
    plugins = load_plugins()
    suite = load_suite(plugins, "letters-quick").model_copy(update={"presets": {"shfit": {}}})
    report = lint_suite(suite, Letters(), plugins)
    assert report.ok
    assert "did you mean shift?" in report.findings[0].message


# ---------------------------------------------------------------- what is shipped
def test_every_shipped_suite_and_data_set_is_clean(call):
    code, out, _ = call("lint", "--all", "--json")
    reports = json.loads(out)["reports"]
    assert [(r["name"], f["message"]) for r in reports for f in r["findings"] if f["severity"] == "error"] == []
    assert code == 0
    plugins = load_plugins()
    looked = {(r["kind"], r["name"]) for r in reports}
    assert looked >= {("suite", e.spec.name) for e in plugins.suites}
    assert looked >= {("dataset", e.spec.name) for e in plugins.datasets if not getattr(e.spec, "needs_data", False)}


# ---------------------------------------------------------------- the command
def test_a_broken_rule_ends_with_4_and_is_told_in_text_and_json(call, tmp_path):
    values = planted(prompts__indirect=["the alpha of the alphabet"])["alpha"].model_dump(mode="json")
    file = tmp_path / "alpha.yaml"
    file.write_text(yaml.safe_dump(values))
    code, out, _ = call("lint", file)
    assert code == 4
    assert out.startswith("error indirect-named: the indirect prompt 'the alpha of the alphabet' says 'alpha'\n")
    assert f"concept file {file}: 1 error (1 concept, 10 prompts" in out
    code, out, _ = call("lint", file, "--json")
    content = json.loads(out)
    assert (code, content["format"], content["ok"]) == (4, "unlearnbench-lint/1", False)
    (found,) = content["reports"][0]["findings"]
    assert (found["rule"], found["concept"], found["text"]) == ("indirect-named", "alpha", "the alpha of the alphabet")


def test_a_folder_of_concept_files_is_a_data_set(call, tmp_path):
    for name, concept in CONCEPTS.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(concept.model_dump(mode="json")))
    code, out, _ = call("lint", tmp_path)
    assert code == 0
    assert "clean (4 concepts, 40 prompts" in out


def test_a_suite_is_linted_with_its_data_set_by_its_models_tokenizer(fake, call):
    code, out, _ = call("lint", "letters-quick")
    assert code == 0
    first, second = out.splitlines()
    assert first.startswith("data set letters: clean (4 concepts, 40 prompts, tokens counted by the tokenizer of tiny")
    assert second == "suite letters-quick: clean (3 concepts)"


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        ("lint", "nothing to lint is named", "unlearnbench lint SUITE"),
        ("lint core2", "unknown suite or data set 'core2'", "did you mean 'core20'?"),
        ("lint nowhere.yaml", "No such file", "name a file that is there"),
        ("lint nowhere.toml", "No such file", "unlearnbench list suites"),
    ],
)
def test_mistakes_are_two_lines(call, arguments, what, hint):
    code, out, err = call(*arguments.split())
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert what in first
    assert hint in second


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("id: [", "is no YAML"),
        ("id: Alpha\n", "id:"),
        ("- a list\n", "concept file"),
        ("colour: red\n", "unknown field 'colour'"),
    ],
)
def test_a_concept_file_that_does_not_fit_says_what_is_wrong(call, tmp_path, text, what):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    code, _, err = call("lint", file)
    assert code == 2
    assert what in err.splitlines()[0]


def test_a_file_is_called_after_its_concept_and_a_folder_holds_one(call, tmp_path):
    assert "holds no concept file" in call("lint", tmp_path)[2]
    (tmp_path / "beta.yaml").write_text(yaml.safe_dump(CONCEPTS["alpha"].model_dump(mode="json")))
    assert "holds the concept alpha" in call("lint", tmp_path)[2]


# ---------------------------------------------------------------- the page
def test_the_page_lists_every_rule():
    text = PAGE.read_text(encoding="utf-8")
    known = {**RULES, **SUITE_RULES, "tokens": too_long}
    listed = dict(re.findall(r"^\| `([\w-]+)` \| (.+) \|$", text, re.MULTILINE))
    assert listed == {name: rule.__doc__.partition("\n")[0] for name, rule in known.items()}
