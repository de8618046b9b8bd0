"""The closed forms: the projected update, its unprojected counterpart, and the collapse of repeated keys.

W is [o, d], K1 [d, n], V1 and R = V1 − W K1 are [o, n]; Q [d, r] spans the null space, P = Q Qᵀ. All in float64.
"""

from __future__ import annotations

import torch


def projected(
    residual: torch.Tensor,
    keys: torch.Tensor,
    basis: torch.Tensor,
    lamb: float,
    previous: torch.Tensor | None = None,
) -> torch.Tensor:
    """Solve min ‖(W + ΔP) K1 − V1‖² + λ ‖ΔP‖² (+ ‖ΔP K_prev‖²) for ΔP.

    The paper writes Δ = R K1ᵀ P (K1 K1ᵀ P + λ I)⁻¹, a d x d system. With Z = Qᵀ K1 the same is
    R (ZᵀZ + λ I)⁻¹ Zᵀ Qᵀ, n x n, or R Zᵀ (Z Zᵀ + λ I)⁻¹ Qᵀ, r x r; the smaller system is solved.

    Args:
        residual: R, [o, n].
        keys: K1, [d, n].
        basis: Q, [d, r].
        lamb: λ, above 0.
        previous: C_prev = K_prev K_prevᵀ of earlier edits, [d, d] (AlphaEdit).

    Returns:
        ΔP, [o, d].
    """
    Z = basis.T @ keys
    if previous is None and Z.shape[1] < Z.shape[0]:
        gram = Z.T @ Z
        gram.diagonal().add_(lamb)
        half = torch.cholesky_solve(Z.T, torch.linalg.cholesky(gram))
        return (residual @ half) @ basis.T
    gram = Z @ Z.T
    if previous is not None:
        gram += basis.T @ previous @ basis
    gram.diagonal().add_(lamb)
    update: torch.Tensor = torch.cholesky_solve(Z @ residual.T, torch.linalg.cholesky(gram)).T @ basis.T
    return update


def unprojected(residual: torch.Tensor, keys: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Return Δ = R K1ᵀ (K0 K0ᵀ + K1 K1ᵀ)⁺, least squares on edit and retain inputs together (MEMIT, report section 4).

    The pseudo-inverse gives the smallest of all solutions where K0 and K1 together leave directions unused.

    Args:
        residual: R, [o, n].
        keys: K1, [d, n].
        moment: K0 K0ᵀ, [d, d].
    """
    inverse: torch.Tensor = torch.linalg.pinv(moment + keys @ keys.T, hermitian=True)
    return residual @ (keys.T @ inverse)


def collapse(keys: torch.Tensor, residual: torch.Tensor, groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Replace the m copies of a key by one, √m times as long, with √m times the mean residual.

    The normal equations stay the same: m copies with different values pull like one copy with their mean and weight m.

    Args:
        keys: [d, n]; equal within a group.
        residual: [o, n].
        groups: [n] group of every column.
    """
    _, number, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    size = len(counts)
    scale = counts.to(keys.dtype).sqrt()
    merged = [
        matrix.new_zeros(len(matrix), size).index_add_(1, number, matrix) / counts * scale
        for matrix in (keys, residual)
    ]
    return merged[0], merged[1]
