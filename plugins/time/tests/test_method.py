"""The method on small Stable Diffusions, through the interface that the harness uses."""

import pytest
import torch
from pydantic import ValidationError

from unlearnbench.api import EditPair, ForgetConcept, ModelInfo, Request
from unlearnbench.errors import UserError
from unlearnbench.testing import edit_context, sd14_shaped, tiny_model, try_edit
from unlearnbench_time.align import align
from unlearnbench_time.method import TIME, aligned_columns, articles
from unlearnbench_time.params import TIMEParams
from unlearnbench_time.prompts import CONTEXTS, prompt_pairs

CAT = ForgetConcept(
    id="cat",
    kind="object",
    name="cat",
    target="red dog",
    pairs=(
        EditPair(prompt="a photo of a cat", target="a photo of a red dog"),
        EditPair(prompt="an apple and a cat", target="an apple and a red dog"),
    ),
)
BEACH = ForgetConcept(id="beach", kind="scene", name="beach", target="city")
REQUEST = Request(forget=(CAT,), retain=("a photo of a bird",), retain_names=("bird",))


@pytest.fixture(scope="module", params=[1, 2])
def model(request):
    return tiny_model(version=request.param)


def run(model, request=REQUEST, seed=0, **params):
    return try_edit(TIME(TIMEParams(**params)), model, request, seed)


def expected(model, pairs, lamb=0.1, parts=("to_k", "to_v")):
    """Follow the paper for pairs of (source, destination, positions in the destination), d x d."""
    C = torch.cat([model.encode([s]).states[0].double() for s, _, _ in pairs]).T
    Cs = torch.cat([model.encode([d]).states[0, rows].double() for _, d, rows in pairs]).T
    A = lamb * torch.eye(len(C), dtype=torch.float64) + C @ C.T
    return {
        f"unet.{name}.{part}.weight": (lambda W: (lamb * W + W @ Cs @ C.T) @ torch.linalg.inv(A))(
            getattr(module, part).weight.double()
        )
        for name, module in model.cross_attention().items()
        for part in parts
    }


def assert_same(changed, oracle):
    assert set(changed) == set(oracle)
    for name, value in changed.items():
        torch.testing.assert_close(value.double(), oracle[name], rtol=1e-4, atol=1e-5)


REPLACED = [0, 2, *range(3, 40), 39]  # BOS; cat -> dog; EOS -> EOS and so on


def test_every_token_of_the_name_gets_the_values_of_its_counterpart(model):
    changed, report = run(model)
    assert_same(changed, expected(model, [("cat", "red dog", REPLACED)]))
    assert len(changed) == 2 * len(model.cross_attention()) == report["matrices"]
    assert report["pairs"] == [["cat", "red dog"]]
    assert report["inserted_only"] == [False]
    assert report["columns"] == 40


def test_the_paper_s_own_use_inserts_words(model):
    changed, report = run(model, destination="blue {}", alignment="subsequence", lamb=0.5)
    assert_same(changed, expected(model, [("cat", "blue cat", REPLACED)], lamb=0.5))
    assert report["inserted_only"] == [True]


def test_several_concepts_and_pairs_are_solved_together(model):
    changed, _ = run(model, Request(forget=(CAT, BEACH)))
    beach = len(model.tokenizer("beach")["input_ids"])
    city = len(model.tokenizer("city")["input_ids"])
    assert beach == city == 3
    pairs = [("cat", "red dog", REPLACED), ("beach", "city", list(range(40)))]
    assert_same(changed, expected(model, pairs))
    changed, report = run(model, edit_with="pairs")
    photo = [0, 1, 2, 3, 4, 6, *range(7, 40), 39]
    fruit = [0, 1, 2, 3, 4, 6, *range(7, 40), 39]
    rows = [photo, fruit]
    assert_same(changed, expected(model, [(p.prompt, p.target, r) for p, r in zip(CAT.pairs, rows, strict=True)]))
    assert report["columns"] == 80


def test_values_can_be_edited_alone(model):
    changed, _ = run(model, keys=False)
    assert_same(changed, expected(model, [("cat", "red dog", REPLACED)], parts=("to_v",)))


def test_a_large_lambda_leaves_the_model_as_it_was(model):
    changed, report = run(model, lamb=1e6)
    for name, module in model.cross_attention().items():
        for part in ("to_k", "to_v"):
            if (new := changed.get(f"unet.{name}.{part}.weight")) is not None:
                torch.testing.assert_close(new, getattr(module, part).weight, rtol=0, atol=1e-4)
    assert report["target_residual"] == pytest.approx(1.0, abs=1e-3)


def test_an_and_a_are_one_word(model):
    assert articles(model) == {model.tokenizer("an")["input_ids"][1]: model.tokenizer("a")["input_ids"][1]}
    _, Cs, inserted = aligned_columns(model, [("an apple", "a red apple")], "subsequence")
    assert inserted == [True]
    rows = [0, 1, 3, *range(4, 40), 39]
    torch.testing.assert_close(Cs.T, model.encode(["a red apple"]).states[0, rows], rtol=0, atol=1e-5)


def test_an_empty_destination_gives_the_name_the_bos_token(model):
    _, Cs, _ = aligned_columns(model, [("cat", "")], "replacement")
    rows = [0, 0, *range(1, 39)]
    torch.testing.assert_close(Cs.T, model.encode([""]).states[0, rows], rtol=0, atol=1e-5)


def test_the_report_says_how_much_was_reached_and_what_the_empty_prompt_lost(model):
    changed, report = run(model, lamb=2.0)
    C, Cs, _ = (x.double() if isinstance(x, torch.Tensor) else x for x in
                aligned_columns(model, [("cat", "red dog")], "replacement"))  # fmt: skip
    null = model.encode([""]).states[0].double().T
    left, drift = 0.0, 0.0
    for name, module in model.cross_attention().items():
        for part in ("to_k", "to_v"):
            W = getattr(module, part).weight.double()
            new = changed[f"unet.{name}.{part}.weight"].double()
            left = max(left, float((new @ C - W @ Cs).norm() / (W @ C - W @ Cs).norm()))
            drift = max(drift, float(((new - W) @ null).norm() / (W @ null).norm()))
    assert report["target_residual"] == pytest.approx(left, rel=1e-3)
    assert report["null_prompt_change"] == pytest.approx(drift, rel=1e-3)
    assert 0 < left < 1
    assert drift > 1e-3


def test_stable_diffusion_1_4_has_32_such_matrices():
    shapes = sd14_shaped(device="meta")
    weights = [getattr(m, part).weight for m in shapes.cross_attention().values() for part in ("to_k", "to_v")]
    assert len(weights) == 32
    assert sum(weight.numel() for weight in weights) == 19_169_280


def test_contexts_and_destinations_make_pairs():
    def pairs(**kwargs):
        settings = {"edit_with": "name", "destination": "target", "augment": False}
        return prompt_pairs([CAT], **(settings | kwargs))

    assert pairs() == [("cat", "red dog")]
    assert pairs(destination="") == [("cat", "")]
    assert pairs(destination="blue {}") == [("cat", "blue cat")]
    assert pairs(edit_with="pairs", destination="blue {}")[0] == ("a photo of a cat", "blue a photo of a cat")
    augmented = pairs(augment=True)
    assert augmented == [("cat", "red dog"), *((c.format("cat"), c.format("red dog")) for c in CONTEXTS)]
    assert all(context.count("{}") == 1 for context in CONTEXTS)
    assert {destination for _, destination in pairs(augment=True, destination="")} == {""}
    rose = ForgetConcept(id="rose", kind="object", name="A rose", target="Another rose")
    assert prompt_pairs([rose], edit_with="name", destination="target", augment=True)[1] == (
        CONTEXTS[0].format("a rose"),
        CONTEXTS[0].format("Another rose"),
    )


@pytest.mark.parametrize("params", [{"lamb": 0.0}, {"alignment": "first"}, {"edit_with": "words"}, {"unknown": 1}])
def test_wrong_parameters_are_refused(params):
    with pytest.raises(ValidationError):
        TIMEParams(**params)


def test_supports_names_the_reason(model):
    assert TIME(TIMEParams()).supports(model.info, REQUEST) is None
    other = ModelInfo.model_validate({**model.info.model_dump(), "family": "flux"})
    assert "cross-attention" in TIME(TIMEParams()).supports(other, REQUEST)
    assert "beach" in TIME(TIMEParams(edit_with="pairs")).supports(model.info, Request(forget=(CAT, BEACH)))
    strict = TIME(TIMEParams(alignment="subsequence"))
    assert "'cat' -> 'red dog'" in strict.supports(model.info, REQUEST)
    assert TIME(TIMEParams(alignment="subsequence", destination="big {}")).supports(model.info, REQUEST) is None


def test_a_destination_that_is_cut_off_is_refused_by_the_paper_s_rule(model):
    params = TIMEParams(alignment="subsequence", destination="big " * 40 + "{}")
    assert TIME(params).supports(model.info, REQUEST) is None
    with pytest.raises(UserError, match="subsequence"):
        TIME(params).edit(model, REQUEST, edit_context())


def test_a_unet_without_text_attention_is_refused(model, monkeypatch):
    monkeypatch.setattr(type(model), "cross_attention", lambda self: {})
    with pytest.raises(UserError, match="cross-attention"):
        TIME(TIMEParams()).edit(model, REQUEST, edit_context())


def test_truncated_sources_are_aligned_to_their_end(model):
    ids = model.encode(["cat " * 60]).ids[0].tolist()
    assert align(ids, ids, 40, "subsequence") == list(range(40))


def test_no_seed_matters(model):
    first, other = run(model)[0], run(model, seed=1)[0]
    assert all(torch.equal(first[name], other[name]) for name in first | other)
