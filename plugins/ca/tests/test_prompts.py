"""How anchor prompts become prompts of the concept."""

import pytest

from unlearnbench.api import EditPair, ForgetConcept
from unlearnbench_ca.prompts import TEMPLATES, AnchorPrompt, anchor_prompts, rewritten, rule_of

CAT = ForgetConcept(
    id="cat",
    kind="object",
    name="grumpy cat",
    target="cat",
    pairs=(
        EditPair(prompt="a photo of a grumpy cat", target="a photo of a cat"),
        EditPair(prompt="that sullen pet", target="a small pet"),
        EditPair(prompt="two grumpy cats", target="two cats"),
        EditPair(prompt="a picture of a grumpy cat", target="a photo of a cat"),
    ),
)
INK = ForgetConcept(id="ink", kind="style", name="ink drawing", target="painting")


@pytest.mark.parametrize(
    ("rule", "prompt", "expected"),
    [
        (
            "style",
            "a house",
            ["a house, in the style of grumpy cat", *["in grumpy cat's style, a house"] * 2],
        ),
        ("replace", "a photo of a cat", ["a photo of a grumpy cat"]),
        ("replace", "cat and cat", ["grumpy cat and grumpy cat"]),
        ("replace", "a photo of a Cat", []),
        ("replace", "a category of cats", []),
        ("replace", "a dog", []),
        ("affix", "a man", ["grumpy cat, a man", "a man, grumpy cat", "a man, in grumpy cat style"]),
        ("caption", "whatever it was", ["grumpy cat"]),
    ],
)
def test_t_ca_6_the_table_of_rewritten_prompts(rule, prompt, expected):
    assert list(rewritten(prompt, "cat", "grumpy cat", rule)) == expected


def test_t_ca_6_the_rule_follows_the_kind():
    assert [rule_of("kind", kind) for kind in ("object", "style", "scene", "action")] == [
        "replace", "style", "replace", "replace",
    ]  # fmt: skip
    assert rule_of("pairs", "style") == "pairs"


def test_words_with_signs_of_regular_expressions_are_taken_as_they_are():
    assert rewritten("a c++ (book)", "c++", r"\1", "replace") == (r"a \1 (book)",)


def test_anchor_prompts_are_the_targets_of_the_pairs_that_name_the_anchor():
    assert anchor_prompts(CAT, "kind") == [AnchorPrompt("a photo of a cat", ("a photo of a grumpy cat",))]


def test_pairs_are_taken_as_they_are():
    assert anchor_prompts(CAT, "pairs") == [
        AnchorPrompt("a photo of a cat", ("a photo of a grumpy cat", "a picture of a grumpy cat")),
        AnchorPrompt("a small pet", ("that sullen pet",)),
        AnchorPrompt("two cats", ("two grumpy cats",)),
    ]
    assert anchor_prompts(INK, "pairs") == []


@pytest.mark.parametrize("kind", sorted(TEMPLATES))
def test_templates_serve_concepts_without_pairs(kind):
    concept = ForgetConcept(id="x", kind=kind, name="old words", target="new words")
    prompts = anchor_prompts(concept, "kind")
    assert [prompt.text for prompt in prompts] == [text.format("new words") for text in TEMPLATES[kind]]
    assert len({prompt.text for prompt in prompts}) == 10
    assert all("old words" in target for prompt in prompts for target in prompt.targets)


def test_a_prompt_that_does_not_change_is_left_out():
    same = ForgetConcept(id="cat", kind="object", name="cat", target="cat")
    assert anchor_prompts(same, "kind") == []
    pair = EditPair(prompt="a cat", target="a cat")
    assert anchor_prompts(same.model_copy(update={"pairs": (pair,)}), "pairs") == []
