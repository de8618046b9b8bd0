"""Data unlearning: train the UNet until images of its training set are as if it had never seen them."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import torch

from unlearnbench.api import Method, Task
from unlearnbench.editing.subnormal import without_subnormals
from unlearnbench_siss.data import make_data
from unlearnbench_siss.gradients import Accumulated, add_scaled, erasing_factor, forget_factor, norm
from unlearnbench_siss.loss import errors, mixture_terms, plain_term
from unlearnbench_siss.params import DataParams, EraseDiffParams, NaiveDeletionParams, NegGradParams, SISSParams
from unlearnbench_siss.student import Student

if TYPE_CHECKING:
    from collections.abc import Callable

    from unlearnbench.api import DataImage, EditContext, ModelInfo, Request
    from unlearnbench.model import Model
    from unlearnbench_siss.data import Data
    from unlearnbench_siss.gradients import Gradient
    from unlearnbench_siss.loss import Batch, Term

D = TypeVar("D", bound=DataParams)


class DataUnlearning(Method[D], Generic[D]):
    """What the methods share: drawing batches, accumulating gradients, clipping, AdamW.

    Attributes:
        needs_retain: whether images that are retained take part.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("data",)
    needs_retain: ClassVar[bool] = True

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse models without a UNet that it knows, and requests without the images that it needs."""
        if model.family != "sd":
            return f"it trains the UNet of a latent diffusion model, and a model of family '{model.family}' has none"
        if not request.forget_images:
            return "there is no image to forget"
        if self.needs_retain and not request.retain_images:
            return "it trains on images that are retained, and there are none"
        return None

    def drawn_from(self, request: Request) -> tuple[DataImage, ...]:
        """Return the images that x is drawn from: X ∖ A."""
        return request.retain_images

    @abstractmethod
    def terms(self, batch: Batch, request: Request, generator: torch.Generator) -> list[Term]:
        """Return the terms whose gradients `direction` gets."""

    @abstractmethod
    def direction(self, gradients: list[Gradient]) -> tuple[Gradient | None, float]:
        """Return what the optimiser descends, None to leave the step out, and the factor of the forget gradient."""

    def edit(self, model: Model, request: Request, ctx: EditContext) -> None:
        """Train every parameter of the UNet.

        Raises:
            FloatingPointError: a loss became NaN or infinite.
        """
        params = self.params
        data = make_data(model, self.drawn_from(request), request.forget_images, params)
        student = Student(model)
        masters = list(student.masters.values())
        betas = (params.beta1, params.beta2)
        optimizer = torch.optim.AdamW(masters, lr=params.learning_rate, betas=betas, weight_decay=params.weight_decay)
        steps: list[Step] = []
        with without_subnormals() as worker:
            for number in ctx.progress(range(params.iterations), "iterations"):
                scope = partial(ctx.generator, "iteration", number)
                steps.append(worker.run(partial(self.step, data, request, student, optimizer, scope)))
                if not math.isfinite(sum(steps[-1].losses)):
                    raise FloatingPointError(f"a loss of iteration {number} is no number: lower the learning rate")
        student.write()
        ctx.report(
            forget_images=len(request.forget_images),
            retain_images=len(request.retain_images),
            trained_parameters=sum(master.numel() for master in masters),
            losses=[step.losses for step in steps],
            gradient_norms=[step.norms for step in steps],
            forget_factors=[step.factor for step in steps],
            steps_left_out=sum(step.left_out for step in steps),
        )

    def step(
        self,
        data: Data,
        request: Request,
        student: Student,
        optimizer: torch.optim.Optimizer,
        generator: Callable[[int], torch.Generator],
    ) -> Step:
        """Accumulate the gradients of a few batches, and take one step of the optimiser."""
        masters = list(student.masters.values())
        accumulated = Accumulated(masters)
        share = 1.0 / self.params.accumulation
        losses: list[torch.Tensor] = []
        for part in range(self.params.accumulation):
            random = generator(part)
            terms = self.terms(data.batch(random), request, random)
            with torch.enable_grad():
                found = errors(student, terms, velocity=data.velocity)
                accumulated.add(found, share)
            losses.append(torch.stack(found).detach())
        norms = [norm(gradient) for gradient in accumulated.sums]
        gradient, factor = self.direction(accumulated.sums)
        if gradient is not None:
            for master, value in zip(masters, gradient, strict=True):
                master.grad = value
            torch.nn.utils.clip_grad_norm_(masters, self.params.max_gradient_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return Step(torch.stack(losses).mean(dim=0).tolist(), norms, factor, left_out=gradient is None)


@dataclass(frozen=True)
class Step:
    """What is told of one step: the loss and the gradient's length of each term, and the forget gradient's factor."""

    losses: list[float]
    norms: list[float]
    factor: float
    left_out: bool


class SISS(DataUnlearning[SISSParams]):
    """Minimise n/(n−k) E_x ℓ(x) − k/(n−k) E_a ℓ(a), both from one noised image of the mixture of x's and a's.

    Source: Alberti et al., Data Unlearning in Diffusion Models (2025), arXiv:2503.01034.
    """

    params_type = SISSParams

    def edit(self, model: Model, request: Request, ctx: EditContext) -> None:
        """Train every parameter of the UNet; warn where an importance weight has no bound.

        Raises:
            FloatingPointError: a loss became NaN or infinite.
        """
        if self.params.importance and self.params.lamb in (0.0, 1.0):
            which = "forget" if self.params.lamb == 0.0 else "retain"
            ctx.log.warning("at lamb = %g the importance weights of the %s term have no bound", self.params.lamb, which)
        super().edit(model, request, ctx)

    def drawn_from(self, request: Request) -> tuple[DataImage, ...]:
        """Return X (paper) or X ∖ A (code)."""
        everything = (*request.forget_images, *request.retain_images)
        return everything if self.params.objective == "paper" else request.retain_images

    def terms(self, batch: Batch, request: Request, generator: torch.Generator) -> list[Term]:
        """Return n/(n−k) w_x ‖ε_θ(m) − e_x‖² and k/(n−k) w_a ‖ε_θ(m) − e_a‖²; the code leaves out both factors."""
        if self.params.importance:
            retain, forget = mixture_terms(batch, self.params.lamb, generator)
        else:
            retain, forget = plain_term(batch, batch.x), plain_term(batch, batch.a)
        if self.params.objective == "paper":
            k, others = len(request.forget_images), len(request.retain_images)
            retain, forget = retain.times((k + others) / others), forget.times(k / others)
        return [retain, forget]

    def direction(self, gradients: list[Gradient]) -> tuple[Gradient | None, float]:
        """Return g_x − κ g_a and κ."""
        g_x, g_a = gradients
        params = self.params
        size = {"norm": params.scaling_norm, "share": params.scaling_share, "none": 1.0 + params.superfactor}
        factor = forget_factor(g_x, g_a, params.scaling, size[params.scaling])
        if factor is None:
            return None, math.inf
        return add_scaled(g_x, -factor, g_a), factor


class NegGrad(DataUnlearning[NegGradParams]):
    """Maximise E_a ℓ(a), by the gradient of the training loss with the opposite sign.

    Source: baseline of Alberti et al., Data Unlearning in Diffusion Models (2025), arXiv:2503.01034.
    """

    params_type = NegGradParams
    needs_retain = False

    def drawn_from(self, request: Request) -> tuple[DataImage, ...]:
        """Return A: no other image takes part."""
        return request.forget_images

    def terms(self, batch: Batch, request: Request, generator: torch.Generator) -> list[Term]:
        """Return ‖ε − ε_θ(a_t)‖²."""
        return [plain_term(batch, batch.a)]

    def direction(self, gradients: list[Gradient]) -> tuple[Gradient | None, float]:
        """Return −superfactor · g_a."""
        (g_a,) = gradients
        factor = self.params.superfactor
        return add_scaled(g_a, -1.0 - factor, g_a), factor


class EraseDiff(DataUnlearning[EraseDiffParams]):
    """Minimise E_x ℓ(x) while E_a ‖u − ε_θ(a_t)‖², u uniform noise, keeps falling.

    Source: Wu et al., EraseDiff: Erasing Data Influence in Diffusion Models (2024), arXiv:2401.05779.
    """

    params_type = EraseDiffParams

    def terms(self, batch: Batch, request: Request, generator: torch.Generator) -> list[Term]:
        """Return ‖ε − ε_θ(x_t)‖² and ‖u − ε_θ(a_t)‖² with u ~ U[0, 1) for every element."""
        uniform = torch.rand(batch.noise.shape, generator=generator).to(batch.noise)
        return [plain_term(batch, batch.x), replace(plain_term(batch, batch.a), noise=uniform)]

    def direction(self, gradients: list[Gradient]) -> tuple[Gradient | None, float]:
        """Return g_x + max(η − ⟨g_x, g_f⟩ / ‖g_f‖², 0) g_f and that factor."""
        g_x, g_f = gradients
        factor = erasing_factor(g_x, g_f, self.params.eta)
        return add_scaled(g_x, factor, g_f), factor


class NaiveDeletion(DataUnlearning[NaiveDeletionParams]):
    """Minimise E_x ℓ(x), x from the images that are retained: training goes on without the forgotten ones.

    Source: baseline of Alberti et al., Data Unlearning in Diffusion Models (2025), arXiv:2503.01034.
    """

    params_type = NaiveDeletionParams

    def terms(self, batch: Batch, request: Request, generator: torch.Generator) -> list[Term]:
        """Return ‖ε − ε_θ(x_t)‖²."""
        return [plain_term(batch, batch.x)]

    def direction(self, gradients: list[Gradient]) -> tuple[Gradient | None, float]:
        """Return g_x."""
        return gradients[0], 0.0
