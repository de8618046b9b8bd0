"""The buffer of training points: x_t, t, the prompt, and what the frozen model predicts there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from unlearnbench_esd.trajectory import in_parts, loss_timesteps, sample_points

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unlearnbench_esd.params import ESDParams
    from unlearnbench_esd.trajectory import Predict


def erased_target(source: torch.Tensor, concept: torch.Tensor, empty: torch.Tensor, eta: float) -> torch.Tensor:
    """Return ε_f − (1 + η) (ε_c − ε_∅), all by the frozen model.

    For f = c that is the paper's ε_∅ − η (ε_c − ε_∅), the score of p(x) p(c|x)^−η. The authors' newer code writes it in
    the general form, with 1 + η as its negative guidance.
    """
    return source - (1.0 + eta) * (concept - empty)


@dataclass(frozen=True)
class Prompts:
    """Text embeddings of what is erased; row i of `source` and `concept` belong together.

    Attributes:
        source: ε is trained with these, [n, positions, width]: f, or c itself.
        concept: c, [n, positions, width].
        empty: ∅, [1, positions, width].
        weights: [n] chance of a row to be drawn, the same for every concept whatever its number of prompts.
        itself: whether `source` is `concept`.
    """

    source: torch.Tensor
    concept: torch.Tensor
    empty: torch.Tensor
    weights: torch.Tensor
    itself: bool


@dataclass(frozen=True)
class Points:
    """Training points.

    Attributes:
        latents: x_t, [n, channels, s, s].
        timesteps: t, [n].
        rows: [n] row of `Prompts`.
        target: what the prediction shall become, like `latents`.
    """

    latents: torch.Tensor
    timesteps: torch.Tensor
    rows: torch.Tensor
    target: torch.Tensor

    def __getitem__(self, order: torch.Tensor) -> Points:
        return Points(self.latents[order], self.timesteps[order], self.rows[order], self.target[order])


@dataclass(frozen=True)
class Filler:
    """Makes training points.

    Attributes:
        params: parameters of ESD.
        prompts: what is erased.
        scheduler: of `ddim_scheduler`.
        sampler: the UNet whose trajectories give x_t.
        teacher: the frozen UNet that gives the targets.
        shape: shape of one latent.
    """

    params: ESDParams
    prompts: Prompts
    scheduler: Any
    sampler: Predict
    teacher: Predict
    shape: tuple[int, int, int]

    @torch.no_grad()
    def __call__(self, generator: torch.Generator) -> Points:
        """Sample `params.trajectories` trajectories, and ask the teacher about `params.points` points of each."""
        params, prompts = self.params, self.prompts
        device, dtype = prompts.source.device, prompts.source.dtype
        drawn = torch.multinomial(prompts.weights, params.trajectories, replacement=True, generator=generator)
        steps = len(self.scheduler.timesteps)
        left = torch.stack([torch.randperm(steps, generator=generator)[: params.points] for _ in drawn])
        noise = torch.randn((len(drawn), *self.shape), generator=generator)
        timesteps = loss_timesteps(
            left.flatten(), self.scheduler, exact=params.timesteps == "exact", generator=generator
        ).to(device)
        kept = sample_points(
            self.sampler,
            self.scheduler,
            noise.to(device),
            prompts.source[drawn],
            prompts.empty,
            left.to(device),
            guidance=params.guidance,
        ).flatten(0, 1)

        rows = drawn.repeat_interleave(params.points).to(device)
        texts = [prompts.empty.expand_as(prompts.concept[rows]), prompts.concept[rows]]
        texts += [] if prompts.itself else [prompts.source[rows]]
        n = len(texts)
        output = in_parts(self.teacher, kept.repeat(n, 1, 1, 1), timesteps.repeat(n), torch.cat(texts), dtype).chunk(n)
        empty, concept, source = output[0], output[1], output[-1]
        return Points(kept, timesteps, rows, erased_target(source, concept, empty, params.eta))


class Buffer:
    """Hands out training points in random order, each `passes` times, and fills itself again when it is empty.

    Attributes:
        fillings: how often it was filled.
    """

    def __init__(
        self, fill: Callable[[torch.Generator], Points], passes: int, generator: Callable[..., torch.Generator]
    ) -> None:
        self._fill, self._passes, self._generator = fill, passes, generator
        self._points: Points | None = None
        self._order = torch.empty(0, dtype=torch.int64)
        self.fillings = 0

    def take(self, count: int) -> Points:
        """Return the next `count` points."""
        parts = []
        while count:
            if self._points is None or not len(self._order):
                self._points = self._refill()
            now, self._order = self._order[:count], self._order[count:]
            parts.append(self._points[now.to(self._points.rows.device)])
            count -= len(now)
        return Points(
            torch.cat([part.latents for part in parts]),
            torch.cat([part.timesteps for part in parts]),
            torch.cat([part.rows for part in parts]),
            torch.cat([part.target for part in parts]),
        )

    def _refill(self) -> Points:
        points = self._fill(self._generator("trajectories", self.fillings))
        generator = self._generator("order", self.fillings)
        self._order = torch.cat([torch.randperm(len(points.rows), generator=generator) for _ in range(self._passes)])
        self.fillings += 1
        return points
