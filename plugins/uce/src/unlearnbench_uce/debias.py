"""Debiasing: attributes are added to a concept's values until images show them in the desired shares.

The state is α, one number for each concept and attribute. With C the concepts' token columns and a_k those of the
attributes, every iteration refits from the original weights,

    v* = W_old (c + Σ_k α_k a_k)     W_new = W_old + W_old ΔC Sᵀ,     ΔC = Σ_k α_k a_k,

where S = w_e A⁻¹ C of `solve` depends on no α and is found once. Then images are made and α_k moves by
η (desired_k − current_k). The paper's algorithm 1 prints the difference with the opposite sign, which would push
towards what is shown too often; both of the authors' codes take it as here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from unlearnbench_uce.tokens import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unlearnbench.api import ForgetConcept
    from unlearnbench.model import Model
    from unlearnbench_uce.params import AttributeScale, EditTokens, EmptyAnchor

    Measure = Callable[[int, Sequence[ForgetConcept]], list[list[float]]]


@dataclass(frozen=True)
class Directions:
    """Token columns of the concepts, and of their attributes beside them.

    Attributes:
        edit: C, [width, n].
        attributes: a_k of each column's concept, [p, width, n]; zero where a concept has fewer than p.
        block: [n] number of the prompt that a column belongs to.
        concept: [n] number of its concept.
    """

    edit: torch.Tensor
    attributes: torch.Tensor
    block: torch.Tensor
    concept: torch.Tensor


def directions(
    model: Model,
    concepts: Sequence[ForgetConcept],
    prompts: Sequence[Sequence[str]],
    tokens: EditTokens,
    *,
    empty_anchor: EmptyAnchor,
) -> Directions:
    """Encode the prompts of every concept and the words of its attributes, and align their token columns.

    Of a suffix, all prompts of a concept and its attributes have as many columns as the one that starts last leaves.
    """
    texts = [*(p for own in prompts for p in own), *(a.display for c in concepts for a in c.attributes)]
    distinct = list(dict.fromkeys(texts))
    found: dict[str, tuple[torch.Tensor, int]] = {}
    for part in encode(model, distinct, empty_anchor=empty_anchor, last_only=tokens == "last"):
        for states, last in zip(part.states, part.last.tolist(), strict=True):
            found[distinct[len(found)]] = (states, last)
    most = max(len(concept.attributes) for concept in concepts)
    edit: list[torch.Tensor] = []
    sides: list[torch.Tensor] = []
    block: list[int] = []
    owner: list[int] = []
    for number, (concept, own) in enumerate(zip(concepts, prompts, strict=True)):
        for prompt in own:
            members = [found[text] for text in (prompt, *(a.display for a in concept.attributes))]
            columns = _aligned(members, tokens)
            none = torch.zeros_like(columns[0])
            edit.append(columns[0])
            sides.append(torch.stack([*columns[1:], *[none] * (most + 1 - len(columns))]))
            block += [block[-1] + 1 if block else 0] * columns[0].shape[1]
            owner += [number] * columns[0].shape[1]
    device = edit[0].device
    return Directions(
        torch.cat(edit, dim=1),
        torch.cat(sides, dim=2),
        torch.tensor(block, device=device),
        torch.tensor(owner, device=device),
    )


def _aligned(members: Sequence[tuple[torch.Tensor, int]], tokens: EditTokens) -> list[torch.Tensor]:
    """Return [width, m] columns of each text, m the same for all."""
    if tokens == "last":
        return [states[last : last + 1].T for states, last in members]
    if tokens == "all":
        return [states.T for states, _ in members]
    length = min(len(states) - last for states, last in members)
    return [states[last : last + length].T for states, last in members]


def shift(weight: torch.Tensor, found: Directions, alpha: torch.Tensor, scale: AttributeScale) -> torch.Tensor:
    """Return what one layer's values of the concepts shall move by, W ΔC, [o, n].

    Args:
        weight: W_old, [o, width].
        found: token columns.
        alpha: α, [concepts, p].
        scale: "raw": α_k W a_k (code of 2025); "unit": α_k ‖W c‖ W a_k / ‖W a_k‖, norms over the tokens of a prompt
            (code of 2023).
    """
    W = weight.to(found.edit.dtype)
    sides = W @ found.attributes  # [p, o, n]
    factors = alpha.to(sides)[found.concept].T  # [p, n]
    if scale == "unit":
        size = _block_norms(W @ found.edit, found.block)
        factors = factors * torch.stack(
            [size / _block_norms(side, found.block).clamp(min=torch.finfo(side.dtype).tiny) for side in sides]
        )
    return (factors[:, None, :] * sides).sum(dim=0)


def _block_norms(values: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """Return for each column of [o, n] the Frobenius norm over the columns of its block, [n]."""
    squares = values.new_zeros(int(block.max()) + 1).index_add_(0, block, values.square().sum(dim=0))
    return squares.sqrt()[block]


@torch.no_grad()
def refit(
    weights: Sequence[torch.Tensor],
    originals: Sequence[torch.Tensor],
    found: Directions,
    solution: torch.Tensor,
    alpha: torch.Tensor,
    scale: AttributeScale,
) -> None:
    """Set every weight to W_old + W_old ΔC Sᵀ, in place."""
    right = solution.to(found.edit.dtype).T
    for weight, original in zip(weights, originals, strict=True):
        weight.copy_(original.to(found.edit.dtype) + shift(original, found, alpha, scale) @ right)


@dataclass
class State:
    """How far debiasing is.

    Attributes:
        alpha: α, [concepts, p], float64.
        shares: of each iteration, shares of the attributes of every concept.
        balanced: whether the shares of a concept were within the tolerance when they were last found.
    """

    alpha: torch.Tensor
    shares: list[list[list[float]]]
    balanced: list[bool]


def balance(
    concepts: Sequence[ForgetConcept],
    fit: Callable[[torch.Tensor], None],
    measure: Measure,
    *,
    eta: float,
    tolerance: float,
    iterations: int,
    recheck: bool,
) -> State:
    """Alternate between finding the shares and moving α, until all shares are as desired.

    Args:
        concepts: what is debiased.
        fit: sets the weights for an α.
        measure: given the number of the iteration and concepts, finds the shares of their attributes in new images;
            NaN = no image showed one, so that α stays.
        eta: η.
        tolerance: a concept is balanced when no share is this far from the desired one; its α then stays.
        iterations: images are made this often at most.
        recheck: find the shares of balanced concepts again, so that they can move on; false: keep the last shares.
    """
    most = max(len(concept.attributes) for concept in concepts)
    state = State(torch.zeros(len(concepts), most, dtype=torch.float64), [], [False] * len(concepts))
    for number in range(iterations):
        asked = [i for i in range(len(concepts)) if recheck or not state.balanced[i]]
        found = dict(zip(asked, measure(number, [concepts[i] for i in asked]), strict=True))
        state.shares.append([found[i] if i in found else state.shares[-1][i] for i in range(len(concepts))])
        for i in asked:
            gaps = [a.desired - share for a, share in zip(concepts[i].attributes, found[i], strict=True)]
            known = not any(map(math.isnan, gaps))
            state.balanced[i] = known and max(map(abs, gaps)) < tolerance
            if known and not state.balanced[i]:
                state.alpha[i, : len(gaps)] += eta * torch.tensor(gaps, dtype=torch.float64)
        if all(state.balanced):
            break
        fit(state.alpha)
    return state
