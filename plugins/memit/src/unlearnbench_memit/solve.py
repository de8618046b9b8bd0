"""The closed form of MEMIT, and the collapse of repeated keys.

W is [o, d], K1 [d, n], V1 and R = V1 − W K1 are [o, n]; C0 [d, d] is the second moment of the retain inputs, with its
weight. All in float64. Δ = R K1ᵀ (C0 + K1 K1ᵀ)⁻¹ minimises ‖(W + Δ) K1 − V1‖² + tr Δ C0 Δᵀ; its right factor
K1ᵀ (C0 + K1 K1ᵀ)⁻¹ depends on the keys alone. Where the matrix is singular, the smallest of all solutions is meant.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Keys are computed in single precision: directions in which they have less than 1e-5 of their largest size are noise.
TOLERANCE = 1e-10


@dataclass(frozen=True)
class Held:
    """C0, factorised once for all edits of a layer.

    Attributes:
        moment: C0, [d, d].
        factor: L of C0 = L Lᵀ; None if C0 is singular.
        used: [d, r] eigenvectors of a singular C0 whose eigenvalues are not null.
        sizes: [r] roots of these eigenvalues.
        unused: [d, d − r] the other eigenvectors; none for a regular C0.
    """

    moment: torch.Tensor
    factor: torch.Tensor | None
    used: torch.Tensor
    sizes: torch.Tensor
    unused: torch.Tensor


def hold(moment: torch.Tensor) -> Held:
    """Factorise C0, [d, d], by Cholesky; by its eigenvectors if it is singular."""
    factor = regular(moment)
    if factor is not None:
        nothing = moment.new_zeros(len(moment), 0)
        return Held(moment, factor, nothing, moment.new_zeros(0), nothing)
    values, vectors = torch.linalg.eigh(moment)
    kept = values > TOLERANCE * values.abs().max()
    return Held(moment, None, vectors[:, kept], values[kept].sqrt(), vectors[:, ~kept])


def regular(matrix: torch.Tensor) -> torch.Tensor | None:
    """Return the Cholesky factor of a symmetric matrix; None if it is singular, up to the tolerance."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    pivots = factor.diagonal().square()
    fine = not int(failed) and bool(pivots.min() > TOLERANCE * pivots.max())
    return factor if fine else None


def right_factor(keys: torch.Tensor, held: Held) -> torch.Tensor:
    """Return K1ᵀ (C0 + K1 K1ᵀ)⁻¹, [n, d], such that Δ = R times it.

    With fewer columns than dimensions the factors of C0 serve all calls, and an n x n system is solved: with C0 = L Lᵀ
    and Y = L⁻¹ K1, it is (I + YᵀY)⁻¹ Yᵀ L⁻¹. Otherwise C0 + K1 K1ᵀ is factorised.

    Args:
        keys: K1, [d, n].
        held: C0.
    """
    width, columns = keys.shape
    if columns >= width:
        whole = held.moment + keys @ keys.T
        factor = regular(whole)
        if factor is None:
            inverse: torch.Tensor = torch.linalg.pinv(whole, rtol=TOLERANCE, hermitian=True)
            return keys.T @ inverse
        solved: torch.Tensor = torch.cholesky_solve(keys, factor)
        return solved.T
    identity = torch.eye(columns, dtype=keys.dtype, device=keys.device)
    if held.factor is not None:
        Y = torch.linalg.solve_triangular(held.factor, keys, upper=False)
        left = torch.cholesky_solve(Y.T, torch.linalg.cholesky(identity + Y.T @ Y))
        right: torch.Tensor = torch.linalg.solve_triangular(held.factor, left, upper=False, left=False)
        return right
    # Δ = X Uᵀ + Y Qᵀ. In the unused directions Q nothing is held: they take all they can of R, and what they cannot
    # (the part of R that B⁺B misses) is weighed against C0 in the used ones.
    a, b = held.used.T @ keys / held.sizes[:, None], held.unused.T @ keys
    inverse = torch.linalg.pinv(b, atol=TOLERANCE**0.5 * float(keys.norm()), rtol=0.0)
    missed = identity - inverse @ b
    y = a @ missed
    X: torch.Tensor = missed @ torch.linalg.solve(identity + y.T @ y, y.T) / held.sizes
    Y = (identity - X @ (held.used.T @ keys)) @ inverse
    return X @ held.used.T + Y @ held.unused.T


def collapse(keys: torch.Tensor, residual: torch.Tensor, groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Replace the m copies of a key by one, √m times as long, with √m times the mean residual.

    The normal equations stay the same: m copies with different values pull like one copy with their mean and weight m.

    Args:
        keys: [d, n]; equal within a group.
        residual: [o, n].
        groups: [n] number of every column.
    """
    _, number, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    root = counts.to(keys.dtype).sqrt()
    merged = [m.new_zeros(len(m), len(counts)).index_add_(1, number, m) / root for m in (keys, residual)]
    return merged[0], merged[1]
