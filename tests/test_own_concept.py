"""A concept of a user's own: written by `new concept`, found fault with by lint, and run beside a suite's concepts."""

from __future__ import annotations

import re

import pytest
import yaml

from unlearnbench.api import Concept
from unlearnbench.concepts import WithConcept, read_concept
from unlearnbench.errors import UserError
from unlearnbench.lint import lint_added, lint_dataset
from unlearnbench.scaffold import new_concept
from unlearnbench.scaffold.contexts import EDIT, EVALUATION
from unlearnbench.testing.fakes import Letters

CASES = {
    "object": ("a tabby cat", "a goldfish"),
    "style": ("Van Gogh", "a newspaper photograph"),
    "scene": ("the northern lights", "a starry night"),
    "action": ("juggling", "standing still"),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_new_concept_breaks_no_rule_and_leaves_to_its_author_what_cannot_be_filled_in(kind, tmp_path):
    path = new_concept(CASES[kind][0], kind, CASES[kind][1], tmp_path)
    concept = read_concept(path)
    assert path.stem == concept.id
    assert concept.kind == kind
    assert (len(concept.prompts.direct), len(concept.edit)) == (5, 15)
    report = lint_dataset("file", str(path), {concept.id: concept})
    assert report.ok
    assert {f.rule for f in report.findings} == {"counts", "neighbours"}
    assert [path.name for path in tmp_path.iterdir()] == [f"{concept.id}.yaml"]


def test_names_lose_their_article_and_keep_it_in_prompts(tmp_path):
    concept = read_concept(new_concept("a Tabby cat", "object", "the moon", tmp_path))
    assert (concept.id, concept.display, concept.target.id, concept.target.display) == (
        "tabby_cat", "Tabby cat", "moon", "moon",
    )  # fmt: skip
    assert concept.edit[1].prompt == "a photo of a Tabby cat"
    assert concept.edit[1].target == "a photo of the moon"
    assert concept.description == "a Tabby cat"


@pytest.mark.parametrize("words", ['Quote "this" {}', "naïve: #1 - [x]", "theatre"])
def test_any_words_are_written_as_they_are(words, tmp_path):
    concept = read_concept(new_concept(words, "scene", "a hill", tmp_path))
    assert concept.display == words
    assert concept.prompts.direct[0].startswith(words)


@pytest.mark.parametrize("kind", EVALUATION)
def test_contexts_of_evaluation_and_edits_are_many_and_distinct(kind):
    assert len(set(EVALUATION[kind])) == 5
    assert len(set(EDIT[kind])) == 15
    assert all(context.count("{}") == 1 for context in (*EVALUATION[kind], *EDIT[kind]))


def test_the_command_says_what_it_wrote_and_what_comes_next(call, tmp_path):
    code, out, err = call(
        "new", "concept", "a tabby cat", "--kind", "object", "--anchor", "a goldfish", "--path", tmp_path
    )
    assert (code, out) == (0, f"{tmp_path / 'tabby_cat.yaml'}\n")
    assert f"unlearnbench lint {tmp_path / 'tabby_cat.yaml'}" in err
    code, out, _ = call("lint", tmp_path / "tabby_cat.yaml")
    assert code == 0
    assert "2 warnings" in out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["concept", "a cat", "--kind", "object"], "needs --anchor"),
        (["concept", "a cat", "--anchor", "a dog"], "needs --kind"),
        (["concept", "a cat", "--kind", "object", "--anchor", "the Cat"], "is the concept itself"),
        (["concept", "9 lives", "--kind", "object", "--anchor", "a dog"], "'9 lives' is no concept"),
        (["concept", "a cat", "--kind", "object", "--anchor", "a dog", "--path", "nowhere"], "nowhere is no folder"),
        (["method", "nudge", "--kind", "object"], "belong to a concept"),
    ],
)
def test_mistakes_write_nothing(call, tmp_path, monkeypatch, arguments, what):
    monkeypatch.chdir(tmp_path)
    code, _, err = call("new", *arguments)
    assert code == 2
    assert what in err.splitlines()[0]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_kept(tmp_path):
    path = new_concept("a cat", "object", "a dog", tmp_path)
    path.write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        new_concept("a cat", "object", "a dog", tmp_path)
    assert path.read_text() == "mine"


# ---------------------------------------------------------------- beside other concepts
def cat(**changes):
    values = {
        "id": "cat", "kind": "object", "display": "cat", "description": "a cat",
        "target": {"id": "dog", "display": "dog"}, "neighbours": ["lion"],
        "prompts": {
            "direct": ["a cat on a roof"], "indirect": ["it purrs"], "target_direct": ["a dog on a roof"],
            "target_indirect": ["it barks"],
        },
        "edit": [{"prompt": "a red cat", "target": "a red dog"}],
    }  # fmt: skip
    return Concept.model_validate({**values, **changes})


def test_a_concept_may_have_other_numbers_of_prompts_than_those_it_joins():
    assert lint_added(Letters().concepts, cat()) == []


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"aliases": ["Beta"]}, "shared-name"),
        ({"target": {"id": "beta", "display": "dog"}}, "target-retained"),
        ({"edit": [{"prompt": "Alpha, on paper", "target": "a red dog"}]}, "prompt-leak"),
        ({"id": "cats", "neighbours": ["alpah"]}, "spelling"),
        ({"edit": []}, "counts"),
        ({"edit": [{"prompt": "cat " * 80, "target": "dog"}]}, "tokens"),
    ],
)
def test_what_is_wrong_only_together_with_the_others_is_found(changes, rule):
    assert {finding.rule for finding in lint_added(Letters().concepts, cat(**changes))} == {rule}


def test_the_added_concept_is_one_of_its_data_set():
    data = WithConcept(Letters(), cat())
    assert list(data.concepts) == [*Letters().concepts, "cat"]
    assert data.classes("object") == {"cat": "cat", "dog": "dog", "lion": "lion", **Letters().classes("object")}
    assert data.classes("style") == Letters().classes("style")
    assert data.images("train") == ()
    other = WithConcept(Letters(), cat(id="alpha"))
    assert list(other.concepts) == list(Letters().concepts)
    assert other.concepts["alpha"].display == "cat"


@pytest.fixture
def file(tmp_path):
    def write(**changes):
        path = tmp_path / "cat.yaml"
        path.write_text(yaml.safe_dump(cat(**changes).model_dump(mode="json")))
        return path

    return write


def test_a_concept_file_is_forgotten_beside_the_concepts_of_a_suite(fake, call, file):
    common = ("--concept-file", file(neighbours=[]), "--device", "cpu")
    code, out, err = call("run", "letters-quick", "--method", "shift", *common, "-f", "csv")
    assert code == 0, err
    assert "note: cat has no neighbour" in err
    rows = [line.split(",") for line in out.splitlines()]
    at = {name: place for place, name in enumerate(rows[0])}
    (forget,) = [row for row in rows if row[0] == "shift" and row[1] == "forget"]
    (retain,) = [row for row in rows if row[0] == "shift" and row[1] == "retain"]
    assert int(forget[at["n_images"]]) == 2 * 2  # two prompts, two seeds
    assert int(retain[at["n_images"]]) == 3 * 3 * 2  # the three letters of the suite


def test_a_concept_file_that_leaks_makes_nothing(fake, call, file, tmp_path):
    path = file(edit=[{"prompt": "A cat on a roof!", "target": "a dog"}])
    store = tmp_path / "s"
    code, out, err = call("run", "letters-quick", "-m", "shift", "--concept-file", path, "--store", store)
    assert (code, out) == (2, "")
    assert re.search(r"cat\.yaml: the evaluation prompt 'a cat on a roof' is nearly the edit prompt", err)
    assert f"unlearnbench lint {path}" in err.splitlines()[1]
    assert not store.exists()


def test_without_a_suite_it_runs_beside_the_suite_for_own_concepts(fake, call, file):
    code, out, _ = call(
        "run", "-m", "shift", "--concept-file", file(), "--model", "tiny", "--evaluator", "brightness", "--dry-run"
    )
    assert code == 0
    assert "suite own-concept" in out
    assert "edit        1 tasks" in out
