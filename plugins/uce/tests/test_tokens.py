"""Which tokens are edited, and how they are encoded."""

import pytest
import torch

from unlearnbench.testing import tiny_model
from unlearnbench_uce.tokens import edit_columns, encode, preserve_columns, rows


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_last_is_one_position_of_each_prompt():
    assert rows(2, 5, 77, "last") == (slice(2, 3), slice(5, 6))


def test_all_is_every_position():
    assert rows(2, 5, 77, "all") == (slice(0, 77), slice(0, 77))


@pytest.mark.parametrize(("edit", "guide"), [(1, 1), (2, 1), (1, 3), (0, 4)])
def test_suffixes_start_at_the_last_subject_token_and_have_one_length(edit, guide):
    here, there = rows(edit, guide, 77, "suffix")
    farthest = max(edit, guide)
    assert (here.start, there.start) == (edit, guide)
    assert here.stop - here.start == there.stop - there.start == 77 - farthest
    # rows i ... 77 - (f - i) - 1, the last one included
    assert here.stop - 1 == 77 - (farthest - edit) - 1
    assert max(here.stop, there.stop) == 77


def test_the_last_subject_token_comes_from_the_attention_mask(model):
    prompts = ["cat", "a photo of a dog", "xyz", "", " "]
    (part,) = encode(model, prompts, empty_anchor="bos", last_only=False)
    mask = model.tokenizer(prompts, padding="max_length", max_length=40, truncation=True)["attention_mask"]
    assert part.last.tolist() == [max(sum(row) - 2, 0) for row in mask]
    assert part.last.tolist()[0] == 1
    assert part.last.tolist()[-2:] == [0, 0]


def test_t_uce_9_an_empty_guide_resolves_to_the_bos_row(model):
    columns = edit_columns(model, [("cat", "")], "last", empty_anchor="bos")
    bos = model.encode(["a picture of a dog"]).states[0, 0]  # causal: BOS is the same in every prompt
    torch.testing.assert_close(columns.guide[:, 0], bos, rtol=0, atol=1e-5)
    torch.testing.assert_close(columns.edit[:, 0], model.encode(["cat"]).states[0, 1], rtol=0, atol=1e-5)


def test_an_empty_guide_can_be_the_first_eos(model):
    columns = edit_columns(model, [("cat", "")], "last", empty_anchor="first_eos")
    states = model.encode([""]).states[0]
    torch.testing.assert_close(columns.guide[:, 0], states[1], rtol=0, atol=1e-5)
    assert (states[1] - states[0]).abs().max() > 1e-2


def test_encoding_only_what_is_needed_gives_the_same_columns(model):
    prompts = ["cat", "a photo of the red house", "", "dog in the rain"]
    (short,) = encode(model, prompts, empty_anchor="bos", last_only=True)
    (full,) = encode(model, prompts, empty_anchor="bos", last_only=False)
    assert short.states.shape[1] < full.states.shape[1]
    torch.testing.assert_close(short.states, full.states[:, : short.states.shape[1]], rtol=0, atol=1e-5)


def test_every_distinct_prompt_is_encoded_once(model, monkeypatch):
    seen = []
    tokenize = type(model).tokenize

    def watched(self, prompts):
        seen.extend(prompts)
        return tokenize(self, prompts)

    monkeypatch.setattr(type(model), "tokenize", watched)
    edit_columns(model, [("cat", "dog"), ("red cat", "dog"), ("cat", "bird")], "suffix", empty_anchor="bos")
    assert sorted(seen) == ["bird", "cat", "dog", "red cat"]


@pytest.mark.parametrize("tokens", ["last", "suffix", "all"])
def test_columns_are_aligned_pair_by_pair(model, tokens):
    pairs = [("cat", "red dog"), ("a photo of the cat", "bird")]
    columns = edit_columns(model, pairs, tokens, empty_anchor="bos")
    parts_edit, parts_guide, block = [], [], []
    for number, (prompt, target) in enumerate(pairs):
        a, b = model.encode([prompt]), model.encode([target])
        here, there = rows(int(a.last), int(b.last), 40, tokens)
        parts_edit.append(a.states[0, here])
        parts_guide.append(b.states[0, there])
        block += [number] * (here.stop - here.start)
    torch.testing.assert_close(columns.edit, torch.cat(parts_edit).T, rtol=0, atol=1e-5)
    torch.testing.assert_close(columns.guide, torch.cat(parts_guide).T, rtol=0, atol=1e-5)
    assert columns.block.tolist() == block


def test_preserved_columns_come_in_order_and_in_batches(model):
    prompts = [f"cat {i}" for i in range(70)]
    blocks = list(preserve_columns(model, prompts, "last", empty_anchor="bos"))
    assert [block.shape[1] for block in blocks] == [64, 6]
    whole = model.encode(prompts)
    expected = whole.states[torch.arange(70), whole.last].T
    torch.testing.assert_close(torch.cat(blocks, dim=1), expected, rtol=0, atol=1e-5)
    every = torch.cat(list(preserve_columns(model, prompts, "all", empty_anchor="bos")), dim=1)
    torch.testing.assert_close(every, whole.states.flatten(0, 1).T, rtol=0, atol=1e-5)
