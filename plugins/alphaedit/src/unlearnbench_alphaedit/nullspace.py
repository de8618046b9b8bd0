"""The null space of the retain inputs of one layer: K0 streamed into K0 K0ᵀ, and its smallest eigenvectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from unlearnbench_alphaedit.params import Rule

LEVELS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
QUANTILES = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)


class Moment:
    """K0 K0ᵀ of one layer, added up in double precision without keeping K0.

    In single precision a Gram matrix is noise below about 1e-7 of its largest eigenvalue, which is where the tolerance
    of the reference lies.

    Attributes:
        gram: [d, d] float64.
        columns: number of columns of K0, repeated ones counted.
    """

    def __init__(self, width: int, device: torch.device | None = None) -> None:
        self.gram = torch.zeros(width, width, dtype=torch.float64, device=device)
        self.columns = 0

    def add(self, keys: torch.Tensor, counts: torch.Tensor) -> None:
        """Add distinct columns.

        Args:
            keys: [d, n] columns.
            counts: [n] how often each occurs.
        """
        weighted = keys.double() * counts.double().sqrt()
        self.gram.addmm_(weighted, weighted.T)
        self.columns += int(counts.sum())


@dataclass(frozen=True)
class NullSpace:
    """Directions that the retain inputs hardly use.

    Attributes:
        basis: Q, [d, r], orthonormal, float64; the projector is P = Q Qᵀ.
        eigenvalues: [d] all eigenvalues of K0 K0ᵀ, ascending.
        leakage: ‖Qᵀ K0‖_F / ‖K0‖_F: 0 if the space is really null; 0 without any retain input.
    """

    basis: torch.Tensor
    eigenvalues: torch.Tensor
    leakage: float

    @property
    def dim(self) -> int:
        """Return r."""
        return self.basis.shape[1]

    def spectrum(self) -> dict[str, int]:
        """Return how many eigenvalues lie under each of a few multiples of their mean."""
        mean = self.eigenvalues.mean()
        return {f"{level:g}": int((self.eigenvalues < level * mean).sum()) for level in LEVELS}

    def quantiles(self) -> dict[str, float]:
        """Return quantiles of the eigenvalues in multiples of their mean; NaN without retain inputs.

        Rounding leaves null eigenvalues of either sign: they count as 0.
        """
        values = self.eigenvalues.clamp(min=0.0)
        found = torch.quantile(values / values.mean(), values.new_tensor(QUANTILES))
        return {f"{level:g}": float(value) for level, value in zip(QUANTILES, found, strict=True)}


def null_space(
    gram: torch.Tensor, columns: int, *, rule: Rule, tol: float, min_dim: int, max_dim: int | None
) -> NullSpace:
    """Choose the eigenvectors of K0 K0ᵀ that count as null.

    Args:
        gram: K0 K0ᵀ, [d, d] float64.
        columns: number of columns of K0; without any, the whole space is null.
        rule: "relative_mean": eigenvalues under `tol` times their mean (report and code of Prakash); "absolute_moment":
            under `tol` times `columns`, that is, of the mean second moment (AlphaEdit, SPEED); "rank": the `min_dim`
            smallest.
        tol: tolerance of the rule.
        min_dim: at least so many dimensions are taken, the smallest first, even if they are not null.
        max_dim: at most so many.
    """
    width = len(gram)
    if columns == 0:
        return NullSpace(torch.eye(width, dtype=gram.dtype, device=gram.device), gram.diagonal().clone(), 0.0)
    eigenvalues, vectors = torch.linalg.eigh(gram)
    bounds = {"relative_mean": tol * float(eigenvalues.mean()), "absolute_moment": tol * columns}
    dim = 0 if rule == "rank" else int((eigenvalues < bounds[rule]).sum())
    dim = min(max(dim, min_dim), width if max_dim is None else max_dim, width)
    energy = eigenvalues.clamp(min=0.0)
    leakage = float((energy[:dim].sum() / energy.sum()).sqrt())
    return NullSpace(vectors[:, :dim].contiguous(), eigenvalues, leakage)
