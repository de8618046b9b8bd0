"""The method on a small Stable Diffusion, through the interface that the harness uses."""

import pytest
import torch
from pydantic import ValidationError

from unlearnbench.api import EditPair, ForgetConcept, ModelInfo, Request
from unlearnbench.errors import UserError
from unlearnbench.testing import edit_context, sd14_shaped, tiny_model, try_edit
from unlearnbench_uce.method import UCE, preserve_weight, resolve
from unlearnbench_uce.pairs import TEMPLATES, edit_pairs, preserved
from unlearnbench_uce.params import UCEParams

CAT = ForgetConcept(
    id="cat",
    kind="object",
    name="cat",
    aliases=("kitten", "tom cat"),
    target="dog",
    pairs=(
        EditPair(prompt="a photo of a cat", target="a photo of a dog"),
        EditPair(prompt="a red cat in the rain", target="a red dog in the rain"),
    ),
)
BEACH = ForgetConcept(id="beach", kind="scene", name="beach", target="city")
GREEN = ForgetConcept(id="green", kind="style", name="green style", target="art")
REQUEST = Request(forget=(CAT,), retain=("a photo of a bird", "a red tree"), retain_names=("bird", "tree", "Cat "))


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def run(model, request=REQUEST, seed=0, **params):
    return try_edit(UCE(UCEParams(**params)), model, request, seed)


def vectors(model, prompts, positions=None):
    """Return embeddings in double precision: the last subject tokens, or all tokens."""
    embedding = model.encode(prompts)
    states = embedding.states.double()
    return states.flatten(0, 1).T if positions == "all" else states[torch.arange(len(prompts)), embedding.last].T


def expected(model, C, Cs, P, w_e=1.0, w_p=1.0, lamb=0.5):
    """Apply the d x d formula in double precision to every key and value matrix."""
    A = lamb * torch.eye(len(C), dtype=torch.float64) + w_e * C @ C.T + w_p * P @ P.T
    M = w_e * (Cs - C) @ C.T @ torch.linalg.inv(A)
    return {
        f"unet.{name}.{part}.weight": (lambda W: W + W @ M)(getattr(module, part).weight.double())
        for name, module in model.cross_attention().items()
        for part in ("to_k", "to_v")
    }


def assert_same(changed, oracle):
    assert set(changed) == set(oracle)
    for name, value in changed.items():
        torch.testing.assert_close(value.double(), oracle[name], rtol=1e-5, atol=1e-6)


def test_t_uce_8_exactly_the_keys_and_values_of_the_cross_attention_change(model):
    changed, _ = run(model)
    names = {name for name, _ in model.unet.named_parameters() if ".attn2.to_k." in name or ".attn2.to_v." in name}
    assert set(changed) == {f"unet.{name}" for name in names}
    assert len(changed) == 2 * len(model.cross_attention()) > 0


def test_t_uce_8_stable_diffusion_1_4_has_32_such_matrices():
    shapes = sd14_shaped(device="meta")
    weights = [getattr(m, part).weight for m in shapes.cross_attention().values() for part in ("to_k", "to_v")]
    assert len(weights) == 32
    assert sum(weight.numel() for weight in weights) == 19_169_280


def test_the_default_maps_the_last_token_of_the_name_and_preserves_nothing(model):
    changed, report = run(model)
    assert_same(changed, expected(model, vectors(model, ["cat"]), vectors(model, ["dog"]), torch.zeros(32, 0)))
    assert (report["pairs"], report["edit_columns"], report["preserve_columns"]) == (1, 1, 0)


@pytest.mark.parametrize(("retain", "words"), [("names", ["bird", "tree"]), ("prompts", list(REQUEST.retain))])
def test_retained_names_or_prompts_are_preserved_but_never_the_edited_one(model, retain, words):
    changed, report = run(model, retain=retain, preserve_scale=0.3, erase_scale=2.0, lamb=0.1)
    C, Cs, P = (vectors(model, x) for x in (["cat"], ["dog"], words))
    assert_same(changed, expected(model, C, Cs, P, w_e=2.0, w_p=0.3, lamb=0.1))
    assert report["preserve_columns"] == 2


def test_all_positions_can_be_preserved(model):
    changed, report = run(model, retain="names", preserve_tokens="all")
    C, Cs = vectors(model, ["cat"]), vectors(model, ["dog"])
    assert_same(changed, expected(model, C, Cs, vectors(model, ["bird", "tree"], "all")))
    assert report["preserve_columns"] == 80


def test_preset_2023_maps_suffixes_and_preserves_the_empty_prompt(model):
    changed, report = run(model, preset="uce-2023")
    a, b = model.encode(["cat"]), model.encode(["dog"])
    C, Cs = (x.states[0, 1:].double().T for x in (a, b))
    assert_same(changed, expected(model, C, Cs, vectors(model, [""], "all"), w_p=1.0))
    assert (report["edit_columns"], report["preserve_columns"], report["preserve_scale"]) == (39, 40, 1.0)


def test_preset_2023_preserves_the_other_names_when_it_erases_styles(model):
    request = Request(forget=(GREEN,), retain_names=("blue style", "red style"))
    _, report = run(model, request, preset="uce-2023")
    assert report["preserve_columns"] == 3 * 40
    assert report["preserve_scale"] == pytest.approx(1 / 3)


def test_presets_fill_in_what_is_unset_and_nothing_else():
    styles = Request(forget=(GREEN,))
    assert resolve(UCEParams(), styles).retain == "none"
    assert resolve(UCEParams(preset="uce-2023"), styles).retain == "names"
    chosen = resolve(
        UCEParams(preset="uce-2023", edit_tokens="last", preserve_tokens="last", retain="prompts"), REQUEST
    )
    assert (chosen.edit_tokens, chosen.preserve_tokens, chosen.retain, chosen.empty) == (
        "last",
        "last",
        "prompts",
        True,
    )
    assert preserve_weight(UCEParams(), 50) == 1.0
    assert preserve_weight(UCEParams(preset="uce-2023"), 50) == 0.1
    assert preserve_weight(UCEParams(preset="uce-2023", preserve_scale=0.7), 50) == 0.7


def test_several_concepts_are_erased_at_once(model):
    changed, report = run(model, Request(forget=(CAT, BEACH)))
    C, Cs = vectors(model, ["cat", "beach"]), vectors(model, ["dog", "city"])
    assert_same(changed, expected(model, C, Cs, torch.zeros(32, 0)))
    assert report["pairs"] == 2


def test_edit_prompts_can_be_mapped_instead_of_the_name(model):
    changed, _ = run(model, edit_with="pairs")
    C = vectors(model, [pair.prompt for pair in CAT.pairs])
    Cs = vectors(model, [pair.target for pair in CAT.pairs])
    assert_same(changed, expected(model, C, Cs, torch.zeros(32, 0)))


def test_the_guide_can_be_replaced(model):
    changed, _ = run(model, guide="")
    bos = model.encode([""]).states[0, :1].double().T
    assert_same(changed, expected(model, vectors(model, ["cat"]), bos, torch.zeros(32, 0)))
    changed, _ = run(model, guide="bird")
    assert_same(changed, expected(model, vectors(model, ["cat"]), vectors(model, ["bird"]), torch.zeros(32, 0)))


def test_the_first_eos_can_stand_for_an_empty_guide(model):
    changed, _ = run(model, guide="", empty_anchor="first_eos")
    eos = model.encode([""]).states[0, 1:2].double().T
    assert_same(changed, expected(model, vectors(model, ["cat"]), eos, torch.zeros(32, 0)))


def test_the_tensor_technique_runs_through_the_method(model):
    plain, _ = run(model, edit_tokens="suffix")
    changed, _ = run(model, edit_tokens="suffix", technique="tensor")
    assert set(changed) == set(plain)
    assert any(not torch.allclose(changed[name], plain[name]) for name in changed)


def test_the_change_of_the_empty_prompt_is_reported(model):
    params = {"edit_tokens": "suffix", "guide": "bird"}
    changed, report = run(model, **params)
    null = model.encode([""]).states[0].double().T
    worst = 0.0
    for name, module in model.cross_attention().items():
        for part in ("to_k", "to_v"):
            W = getattr(module, part).weight.double()
            new = changed[f"unet.{name}.{part}.weight"].double()
            worst = max(worst, float(((new - W) @ null).norm() / (W @ null).norm()))
    assert report["null_prompt_change"] == pytest.approx(worst, rel=1e-3)
    assert worst > 1e-3
    _, guarded = run(model, preset="uce-2023", preserve_scale=100.0)
    assert guarded["null_prompt_change"] < worst / 2


def test_edits_are_deterministic(model):
    first, _ = run(model, preset="uce-2023")
    second, _ = run(model, preset="uce-2023")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_aliases_and_templates_add_pairs():
    def pairs(**kwargs):
        settings = {"edit_with": "name", "aliases": False, "expand_prompts": False, "guide": "target"}
        return edit_pairs([CAT], **(settings | kwargs))

    assert pairs() == [("cat", "dog")]
    assert pairs(aliases=True) == [("cat", "dog"), ("kitten", "dog"), ("tom cat", "dog")]
    expanded = pairs(expand_prompts=True)
    assert expanded[0] == ("cat", "dog")
    assert expanded[1:] == [(t.format("cat"), t.format("dog")) for t in TEMPLATES["object"]]
    assert {guide for _, guide in pairs(expand_prompts=True, guide="")} == {""}
    assert pairs(edit_with="pairs", guide="bird") == [(pair.prompt, "bird") for pair in CAT.pairs]


def test_templates_hold_the_name_once():
    assert set(TEMPLATES) == {"object", "style", "scene", "action"}
    assert all(text.count("{}") == 1 for texts in TEMPLATES.values() for text in texts)


def test_preserved_prompts_are_distinct_and_never_edited():
    assert preserved(REQUEST, "names", empty=True, edited=["cat"]) == ("", "bird", "tree")
    assert preserved(REQUEST, "none", empty=False, edited=["cat"]) == ()
    doubled = Request(forget=(CAT,), retain=("a tree", "A  TREE", "a tree", "a cat"))
    assert preserved(doubled, "prompts", empty=False, edited=["A cat"]) == ("a tree", "A  TREE")


@pytest.mark.parametrize(
    "params",
    [
        {"edit_with": "pairs", "aliases": True},
        {"edit_with": "pairs", "expand_prompts": True},
        {"lamb": 0.0},
        {"erase_scale": -1},
        {"edit_tokens": "first"},
        {"unknown": 1},
    ],
)
def test_wrong_parameters_are_refused(params):
    with pytest.raises(ValidationError):
        UCEParams(**params)


def test_supports_names_the_reason(model):
    assert UCE(UCEParams()).supports(model.info, REQUEST) is None
    other = ModelInfo.model_validate({**model.info.model_dump(), "family": "flux"})
    assert "cross-attention" in UCE(UCEParams()).supports(other, REQUEST)
    assert "beach" in UCE(UCEParams(edit_with="pairs")).supports(model.info, Request(forget=(CAT, BEACH)))


def test_a_unet_without_text_attention_is_refused(model, monkeypatch):
    monkeypatch.setattr(type(model), "cross_attention", lambda self: {})
    with pytest.raises(UserError, match="cross-attention"):
        UCE(UCEParams()).edit(model, REQUEST, edit_context())


def test_no_seed_matters(model):
    first, other = run(model)[0], run(model, seed=1)[0]
    assert all(torch.equal(first[name], other[name]) for name in first | other)
