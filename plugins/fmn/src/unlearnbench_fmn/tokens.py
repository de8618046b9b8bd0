"""Where a prompt names the concept, and prompts with other tokens in the name's place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.func import functional_call

from unlearnbench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import ForgetConcept
    from unlearnbench.model import Model
    from unlearnbench_fmn.params import EOS, EditWith


@dataclass(frozen=True)
class Tokens:
    """Tokenized prompts of one concept.

    Attributes:
        ids: [n, positions] token ids, padded.
        mask: [n, positions], 1 from BOS to the first EOS.
        name: the token ids that stand for the concept.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    name: Sequence[int]


def prompts_of(concept: ForgetConcept, edit_with: EditWith) -> list[str]:
    """Return "a photo of <name>", or of a style "a photo in the style of <name>"; or the edit prompts with the name."""
    if edit_with == "pairs":
        name = re.compile(rf"(?<!\w){re.escape(concept.name)}(?!\w)", re.IGNORECASE)
        return list(dict.fromkeys(pair.prompt for pair in concept.pairs if name.search(pair.prompt)))
    return [f"a photo {'in the style of' if concept.kind == 'style' else 'of'} {concept.name}"]


def tokenized(model: Model, concept: ForgetConcept, edit_with: EditWith) -> Tokens:
    """Tokenize the prompts of a concept that hold the whole name.

    Raises:
        UserError: the text encoder cuts every one of them before the end of the name.
    """
    name: list[int] = model.tokenizer([concept.name], add_special_tokens=False)["input_ids"][0]
    ids, mask, _ = model.tokenize(prompts_of(concept, edit_with))
    whole = [row for row, end in enumerate(mask.sum(1).tolist()) if starts(ids[row, :end].tolist(), name)]
    if not whole:
        raise UserError(f"'{concept.name}' is too long for the text encoder.", "Name the concept in fewer words.")
    return Tokens(ids[whole], mask[whole], name)


def starts(ids: Sequence[int], name: Sequence[int]) -> list[int]:
    """Return where the token ids `name` begin in `ids`, occurrences that do not overlap, from the left."""
    found: list[int] = []
    place = 0
    while place <= len(ids) - len(name):
        if list(ids[place : place + len(name)]) == list(name):
            found.append(place)
            place += len(name)
        else:
            place += 1
    return found


def places(tokens: Tokens, eos: EOS) -> torch.Tensor:
    """Return the positions that attention is steered away from: those of the concept's tokens, and of EOS.

    Stable Diffusion 1.x pads with EOS, 2.x with '!': the first EOS is where the mask ends, and there alone the two
    agree. With eos = "all" every position with the id of the first EOS counts, which in 1.x includes the padding.

    Args:
        tokens: prompts of a concept.
        eos: which EOS positions belong to it.

    Returns:
        [n, positions] booleans.
    """
    chosen = torch.zeros_like(tokens.ids, dtype=torch.bool)
    for row, (ids, end) in enumerate(zip(tokens.ids, tokens.mask.sum(1).tolist(), strict=True)):
        for start in starts(ids[:end].tolist(), tokens.name):
            chosen[row, start : start + len(tokens.name)] = True
        if eos == "first":
            chosen[row, end - 1] = True
        elif eos == "all":
            chosen[row] |= ids == ids[end - 1]
    return chosen


def renamed(tokens: Tokens, name: Sequence[int], padding: int) -> Tokens:
    """Put other tokens in the name's place; what no longer fits before EOS is cut.

    Args:
        tokens: prompts of a concept.
        name: the token ids that stand for the concept from now on.
        padding: token id of the padding.
    """
    ids, mask = torch.full_like(tokens.ids, padding), torch.zeros_like(tokens.mask)
    for row, (old, end) in enumerate(zip(tokens.ids, tokens.mask.sum(1).tolist(), strict=True)):
        new = old[: end - 1].tolist()
        for start in reversed(starts(new, tokens.name)):
            new[start : start + len(tokens.name)] = name
        new = [*new[: ids.shape[1] - 1], int(old[end - 1])]
        ids[row, : len(new)] = torch.tensor(new, dtype=ids.dtype)
        mask[row, : len(new)] = 1
    return Tokens(ids, mask, name)


def encoded(model: Model, ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Encode token ids with a vocabulary that has further tokens at its end.

    Args:
        model: its text encoder is asked.
        ids: [n, positions] token ids.
        rows: [k, width] embeddings of the further tokens; they may ask for a gradient.

    Returns:
        [n, positions, width] last hidden state.
    """
    table = model.text_encoder.get_input_embeddings().weight
    (name,) = (name for name, parameter in model.text_encoder.named_parameters() if parameter is table)
    longer = {name: torch.cat([table, rows.to(table.dtype)])}
    states: torch.Tensor = functional_call(model.text_encoder, longer, (ids,)).last_hidden_state
    return states
