"""The losses: noised images, importance weights of the mixture, and squared errors summed over pixels.

γ_t = √ᾱ_t and σ_t = √(1 − ᾱ_t); x is an image that is retained, a one that is forgotten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    Predict = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Images:
    """Clean latents, x_0 [n, channels, s, s], and the embeddings of their captions, c [n, positions, width]."""

    latents: torch.Tensor
    text: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """Pairs of an image that is retained and one that is forgotten, with one t and one ε for both.

    Attributes:
        x: retained images.
        a: forgotten images.
        timesteps: t, [n].
        gamma: γ_t, [n, 1, 1, 1].
        sigma: σ_t, [n, 1, 1, 1].
        noise: ε, like the latents.
    """

    x: Images
    a: Images
    timesteps: torch.Tensor
    gamma: torch.Tensor
    sigma: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True)
class Term:
    """One sum of the objective: Σ w ‖ε_θ(m, t, c) − e‖².

    Attributes:
        batch: t, γ and σ of m.
        latents: m, [n, channels, s, s].
        text: c, [n, positions, width].
        noise: e, like `latents`.
        weights: w, [n].
    """

    batch: Batch
    latents: torch.Tensor
    text: torch.Tensor
    noise: torch.Tensor
    weights: torch.Tensor

    def times(self, factor: float) -> Term:
        """Return the term times a factor."""
        return replace(self, weights=self.weights * factor)


def importance_weights(d: torch.Tensor, lamb: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return w_x = q(m|x) / q_λ(m) and w_a = q(m|a) / q_λ(m) of the mixture q_λ = (1 − λ) q(·|x) + λ q(·|a).

    w_x = 1 / ((1 − λ) + λ e^d) and w_a = 1 / ((1 − λ) e^−d + λ), in a form in which e^d cannot overflow. At λ = 0 w_a,
    and at λ = 1 w_x, has no upper bound.

    Args:
        d: [n] log of q(m|a) / q(m|x).
        lamb: λ.
    """
    keep, leave = _log(1.0 - lamb, d), _log(lamb, d)
    return torch.exp(-torch.logaddexp(keep, leave + d)), torch.exp(-torch.logaddexp(keep - d, leave))


def log_ratio(m: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return d = log q(m|a) − log q(m|x) = (‖m − γx‖² − ‖m − γa‖²) / (2σ²), [n] in double precision."""
    gamma, sigma = batch.gamma.double(), batch.sigma.double()
    to_x, to_a = (
        (m.double() - gamma * images.latents.double()).flatten(1).square().sum(dim=1) for images in (batch.x, batch.a)
    )
    return (to_x - to_a) / (2.0 * sigma.flatten().square())


def mixture_terms(batch: Batch, lamb: float, generator: torch.Generator) -> tuple[Term, Term]:
    """Return w_x ‖ε_θ(m) − e_x‖² and w_a ‖ε_θ(m) − e_a‖² for m ~ q_λ, e_x = (m − γx)/σ and e_a = (m − γa)/σ.

    A Bernoulli(λ) variable of each pair picks which of the two noised images m is: q_λ is a mixture, no interpolation.

    Args:
        batch: pairs.
        lamb: λ.
        generator: CPU generator.
    """
    x, a = batch.x.latents, batch.a.latents
    forget = (torch.rand(len(x), generator=generator) < lamb).to(x.device)[:, None, None, None]
    m = batch.gamma * torch.where(forget, a, x) + batch.sigma * batch.noise
    w_x, w_a = importance_weights(log_ratio(m, batch), lamb)
    e_x, e_a = ((m - batch.gamma * latents) / batch.sigma for latents in (x, a))
    return Term(batch, m, batch.x.text, e_x, w_x), Term(batch, m, batch.a.text, e_a, w_a)


def plain_term(batch: Batch, images: Images) -> Term:
    """Return the training loss ‖ε − ε_θ(γ x_0 + σ ε, t, c)‖² as a term with weights 1."""
    m = batch.gamma * images.latents + batch.sigma * batch.noise
    weights = torch.ones(len(m), dtype=torch.float64, device=m.device)
    return Term(batch, m, images.text, batch.noise, weights)


def errors(predict: Predict, terms: list[Term], *, velocity: bool) -> list[torch.Tensor]:
    """Return each term's mean over images of w ‖ε_θ − e‖², squares summed over pixels, by one forward pass.

    Terms that share latents and text share their rows.

    Args:
        predict: the UNet: latents, timesteps, text.
        terms: at least one.
        velocity: whether it predicts v = γ ε − σ x_0, of which ε = σ m + γ v.
    """
    first = terms[0]
    shared = all(term.latents is first.latents and torch.equal(term.text, first.text) for term in terms)
    rows = terms[:1] if shared else terms
    output = predict(
        torch.cat([term.latents for term in rows]),
        torch.cat([term.batch.timesteps for term in rows]),
        torch.cat([term.text for term in rows]),
    ).float()
    parts = [output] * len(terms) if shared else torch.split(output, [len(term.latents) for term in terms])
    found = []
    for term, part in zip(terms, parts, strict=True):
        epsilon = term.batch.sigma * term.latents + term.batch.gamma * part if velocity else part
        squares = (epsilon - term.noise).flatten(1).square().sum(dim=1)
        found.append((term.weights.to(squares.dtype) * squares).mean())
    return found


def _log(value: float, like: torch.Tensor) -> torch.Tensor:
    return like.new_tensor(math.log(value) if value > 0.0 else -math.inf)
