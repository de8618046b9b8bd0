"""Which token columns UCE edits and preserves: how an edit prompt and its guide are encoded and aligned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unlearnbench.model import Model
    from unlearnbench_uce.params import EditTokens, EmptyAnchor, PreserveTokens

BATCH = 64


@dataclass(frozen=True)
class Encoded:
    """Prompts as the UNet sees them.

    Attributes:
        states: [n, positions, width] text embeddings; cut after the longest prompt's EOS if last tokens suffice.
        last: [n] index of the last subject token; what `empty_anchor` says for an empty prompt.
    """

    states: torch.Tensor
    last: torch.Tensor


@dataclass(frozen=True)
class Columns:
    """Aligned token columns of all edit-guide pairs.

    Attributes:
        edit: C, [width, n_e].
        guide: C*, [width, n_e].
        block: [n_e] number of the pair that a column belongs to.
    """

    edit: torch.Tensor
    guide: torch.Tensor
    block: torch.Tensor


def rows(edit_last: int, guide_last: int, positions: int, tokens: EditTokens) -> tuple[slice, slice]:
    """Return the token positions of an edit prompt and of its guide prompt that are mapped onto each other.

    Args:
        edit_last: index of the last subject token of the edit prompt.
        guide_last: the same of the guide prompt.
        positions: token positions of a prompt.
        tokens: "last": the last subject token; "suffix": it and all that follows, the later-starting prompt deciding
            the length (code of 2023); "all": every position.
    """
    if tokens == "all":
        return slice(0, positions), slice(0, positions)
    if tokens == "last":
        return slice(edit_last, edit_last + 1), slice(guide_last, guide_last + 1)
    farthest = max(edit_last, guide_last)
    return (
        slice(edit_last, positions - (farthest - edit_last)),
        slice(guide_last, positions - (farthest - guide_last)),
    )


def encode(model: Model, prompts: Sequence[str], *, empty_anchor: EmptyAnchor, last_only: bool) -> Iterator[Encoded]:
    """Encode prompts in batches, in order.

    Args:
        model: its current text encoder is used.
        prompts: what to encode; the caller removes duplicates.
        empty_anchor: which position stands for an empty prompt: "bos" (0) or "first_eos" (1).
        last_only: the caller needs last subject tokens alone. The encoder is causal, so only the positions up to the
            EOS of the longest prompt are fed to it; the result is the same.
    """
    for start in range(0, len(prompts), BATCH):
        batch = list(prompts[start : start + BATCH])
        if last_only:
            ids, _, last = model.tokenize(batch)
            with torch.no_grad():
                states = model.text_encoder(ids[:, : int(last.max()) + 2]).last_hidden_state
        else:
            embedding = model.encode(batch)
            states, last = embedding.states, embedding.last
        if empty_anchor == "first_eos":
            last = torch.where(last == 0, 1, last)
        yield Encoded(states.float(), last)


def edit_columns(
    model: Model, pairs: Sequence[tuple[str, str]], tokens: EditTokens, *, empty_anchor: EmptyAnchor
) -> Columns:
    """Encode edit-guide pairs, each distinct prompt once, and align their token columns."""
    prompts = list(dict.fromkeys(prompt for pair in pairs for prompt in pair))
    vectors: dict[str, tuple[torch.Tensor, int]] = {}
    for part in encode(model, prompts, empty_anchor=empty_anchor, last_only=tokens == "last"):
        for states, last in zip(part.states, part.last.tolist(), strict=True):
            vectors[prompts[len(vectors)]] = (states, last)
    edit, guide, block = [], [], []
    for number, (prompt, target) in enumerate(pairs):
        (a, i), (b, j) = vectors[prompt], vectors[target]
        here, there = rows(i, j, min(len(a), len(b)) if tokens != "last" else 0, tokens)
        edit.append(a[here])
        guide.append(b[there])
        block += [number] * len(edit[-1])
    return Columns(torch.cat(edit).T, torch.cat(guide).T, torch.tensor(block, device=edit[0].device))


def preserve_columns(
    model: Model, prompts: Sequence[str], tokens: PreserveTokens, *, empty_anchor: EmptyAnchor
) -> Iterator[torch.Tensor]:
    """Yield the token columns of the preserved prompts in blocks, [width, m] each."""
    for part in encode(model, prompts, empty_anchor=empty_anchor, last_only=tokens == "last"):
        if tokens == "last":
            yield part.states[torch.arange(len(part.last), device=part.last.device), part.last].T
        else:
            yield part.states.flatten(0, 1).T
