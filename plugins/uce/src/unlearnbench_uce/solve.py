"""The closed form of UCE: one factorisation shared by all layers, and its exact low-rank application.

Columns are vectors: C, C*, P hold one token embedding each, [width, n]. The objective (UCE paper, eq. 6 and 7, with
the rank term as a multiple of the identity) is

    min_W  w_e Σ ‖W c_i − v_i*‖² + w_p Σ ‖W c_j − W_old c_j‖² + λ ‖W − W_old‖²

Its solution with v_i* = W_old c_i* is W_new = W_old (I + M), M = (C* − C) Sᵀ and S = w_e A⁻¹ C, where
A = λ I + w_e C Cᵀ + w_p P Pᵀ depends on the text alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unlearnbench_uce.params import Technique


def solve(
    edit: torch.Tensor,
    preserve: Iterable[torch.Tensor],
    count: int,
    *,
    erase_scale: float,
    preserve_scale: float,
    lamb: float,
) -> torch.Tensor:
    """Solve for S = w_e A⁻¹ C by one Cholesky factorisation in double precision.

    Factorises the n x n Gram matrix of all columns if there are fewer columns than dimensions, else the d x d matrix A,
    for which the preserve columns are read block by block.

    Args:
        edit: C, [d, n_e].
        preserve: blocks of P, [d, m] each.
        count: number of columns of all blocks together.
        erase_scale: w_e.
        preserve_scale: w_p.
        lamb: λ, above 0.

    Returns:
        S, [d, n_e], float64.
    """
    C = edit.double()
    width, edits = C.shape
    if edits + count < width:
        K = torch.cat([erase_scale**0.5 * C, *(preserve_scale**0.5 * block.double() for block in preserve)], dim=1)
        gram = K.T @ K
        gram.diagonal().add_(lamb)
        first = torch.eye(K.shape[1], edits, dtype=K.dtype, device=K.device)
        # A⁻¹ K = K (KᵀK + λ I)⁻¹, of which the edit columns are wanted
        share: torch.Tensor = K @ torch.cholesky_solve(first, torch.linalg.cholesky(gram))
        return share.mul_(erase_scale**0.5)
    A = erase_scale * (C @ C.T)
    for block in preserve:
        P = block.double()
        A.addmm_(P, P.T, alpha=preserve_scale)
    A.diagonal().add_(lamb)
    return torch.cholesky_solve(C, torch.linalg.cholesky(A)).mul_(erase_scale)


def change(
    weight: torch.Tensor,
    edit: torch.Tensor,
    guide: torch.Tensor,
    solution: torch.Tensor,
    *,
    technique: Technique = "replace",
    block: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the change of one layer as two factors: W_new − W_old = left @ right.

    Args:
        weight: W_old, [o, d].
        edit: C, [d, n_e].
        guide: C*, [d, n_e].
        solution: S of `solve`, [d, n_e].
        technique: "replace": v* = W c*; "tensor": v* = W c* minus its component along W c, where both are taken over
            the whole block of tokens of one pair (Frobenius).
        block: [n_e] number of the pair of every column; needed by "tensor".

    Returns:
        left [o, n_e] and right [n_e, d] in the dtype of `edit`.

    Raises:
        ValueError: "tensor" without `block`.
    """
    W = weight.to(edit.dtype)
    right = solution.to(edit.dtype).T
    if technique == "replace":
        return W @ (guide - edit), right
    if block is None:
        raise ValueError("technique 'tensor' needs the block of every column")
    old, new = W @ edit, W @ guide
    pairs = int(block.max()) + 1
    along = old.new_zeros(pairs).index_add_(0, block, (old * new).sum(dim=0))
    norm = old.new_zeros(pairs).index_add_(0, block, old.square().sum(dim=0))
    return new - old * (1.0 + (along / norm)[block]), right


@torch.no_grad()
def apply(
    weights: Sequence[torch.Tensor],
    edit: torch.Tensor,
    guide: torch.Tensor,
    solution: torch.Tensor,
    *,
    technique: Technique = "replace",
    block: torch.Tensor | None = None,
) -> None:
    """Add the change to every weight in place; arguments as in `change`.

    One pair of thin products a layer, without a copy of the weights. Where the columns outnumber half the dimensions
    and all layers share M, the d x d matrix M = (C* − C) Sᵀ is formed once instead.
    """
    width, columns = edit.shape
    if technique == "replace" and 2 * columns > width:
        shared = ((guide - edit).double() @ solution.T).to(edit.dtype)
        for weight in weights:
            _add(weight, weight.to(shared.dtype), shared)
        return
    for weight in weights:
        _add(weight, *change(weight, edit, guide, solution, technique=technique, block=block))


def _add(weight: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    if weight.dtype == left.dtype and left is not weight:
        weight.addmm_(left, right)
    else:
        weight.copy_(weight.to(left.dtype) + left @ right)
