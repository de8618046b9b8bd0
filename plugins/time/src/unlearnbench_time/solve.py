"""The closed form of TIME: one factorisation shared by all matrices.

C and C* are [width, n], one token embedding of a source and of its destination a column. The objective

    min_W  Σ ‖W c_i − W_old c_i*‖² + λ ‖W − W_old‖²

has the solution W = (λ W_old + Σ v_i* c_iᵀ) A⁻¹ with v_i* = W_old c_i* and A = λ I + C Cᵀ. As λ W_old is
W_old (A − C Cᵀ), that is W = W_old (I + M) with M = (C* − C) Sᵀ and S = A⁻¹ C, both of which depend on the text alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


def solve(source: torch.Tensor, lamb: float) -> torch.Tensor:
    """Solve for S = A⁻¹ C by one Cholesky factorisation in double precision, of the smaller of CᵀC + λI and A.

    Args:
        source: C, [d, n].
        lamb: λ, above 0.

    Returns:
        S, [d, n], float64.
    """
    C = source.double()
    width, columns = C.shape
    gram = C.T @ C if columns < width else C @ C.T
    gram.diagonal().add_(lamb)
    factor = torch.linalg.cholesky(gram)
    if columns < width:
        # A⁻¹ C = C (CᵀC + λ I)⁻¹
        return torch.cholesky_solve(C.T, factor).T
    return torch.cholesky_solve(C, factor)


@torch.no_grad()
def apply(weights: Sequence[torch.Tensor], step: torch.Tensor, solution: torch.Tensor) -> None:
    """Set every weight to W (I + M) in place: two thin products each, or one with M formed once if that is cheaper.

    Args:
        weights: W_old, [o, d] each; half precision is computed in single precision.
        step: C* − C, [d, n].
        solution: S of `solve`, [d, n].
    """
    width, columns = step.shape
    if 2 * columns > width:
        shared = (step.double() @ solution.double().T).to(step.dtype)
        for weight in weights:
            W = weight.to(step.dtype)
            weight.copy_(W + W @ shared)
        return
    right = solution.to(step.dtype).T
    for weight in weights:
        W = weight.to(step.dtype)
        weight.copy_(W + (W @ step) @ right)


@torch.no_grad()
def largest_share(weights: Sequence[torch.Tensor], part: torch.Tensor, whole: torch.Tensor) -> float:
    """Return the largest ‖W part‖ / ‖W whole‖ of all weights; 0 where W whole is.

    Args:
        weights: [o, d] each.
        part: [d, n] columns.
        whole: [d, m] columns.
    """
    found = 0.0
    for weight in weights:
        W = weight.double()
        above, below = (W @ part.double()).norm(), (W @ whole.double()).norm()
        found = max(found, float(above / below) if below > 0 else 0.0)
    return found
