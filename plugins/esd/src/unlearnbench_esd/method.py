"""Erased Stable Diffusion: train the model to predict, for the concept, what guidance away from it gives."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch

from unlearnbench.api import Method
from unlearnbench.editing.subnormal import without_subnormals
from unlearnbench.errors import UserError
from unlearnbench_esd.buffer import Buffer, Filler, Prompts
from unlearnbench_esd.layers import trained
from unlearnbench_esd.params import ESDParams
from unlearnbench_esd.student import Student, Teacher
from unlearnbench_esd.trajectory import ddim_scheduler

if TYPE_CHECKING:
    from unlearnbench.api import EditContext, ModelInfo, Request
    from unlearnbench.model import Model
    from unlearnbench_esd.buffer import Points


class ESD(Method[ESDParams]):
    """Minimise E ‖ε_θ(x_t, c, t) − ε_θ*(x_t, ∅, t) + η [ε_θ*(x_t, c, t) − ε_θ*(x_t, ∅, t)]‖² over layers of a UNet.

    Source: Gandikota et al., Erasing Concepts from Diffusion Models (2023), arXiv:2303.07345.
    """

    params_type = ESDParams

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse models without text cross-attention, and concepts that lack what `edit_with` asks for."""
        if model.family != "sd":
            return f"ESD trains a UNet with text cross-attention, which a model of family '{model.family}' has not"
        missing = [concept.id for concept in request.forget if self.params.edit_with == "pairs" and not concept.pairs]
        return f"edit_with = 'pairs', but there are no edit prompts for {', '.join(missing)}" if missing else None

    def edit(self, model: Model, request: Request, ctx: EditContext) -> None:
        """Train the layers of `train_method`, and nothing else; several concepts take turns at random.

        Raises:
            UserError: the UNet has no such layer.
            FloatingPointError: the loss became NaN or infinite.
        """
        params = self.params
        parameters = trained(model.unet, params.train_method)
        if not parameters:
            raise UserError(
                f"The UNet has no layer that {params.train_method} trains.", "Choose another: -p train_method=esd-all"
            )
        student, teacher = Student(model.unet, parameters), Teacher(model.unet)
        prompts = encode(model, request, params)
        fill = Filler(
            params=params,
            prompts=prompts,
            scheduler=ddim_scheduler(model, params.sampling_steps),
            sampler=student if params.sampled_by == "student" else teacher,
            teacher=teacher,
            shape=(model.unet.config.in_channels, model.info.latent_size, model.info.latent_size),
        )
        buffer = Buffer(fill, params.passes, ctx.generator)
        optimizer = torch.optim.Adam(student.masters.values(), lr=params.learning_rate)
        losses: list[float] = []
        with without_subnormals() as worker:
            for number in ctx.progress(range(params.iterations), "iterations"):
                points = worker.run(partial(buffer.take, params.batch))
                losses.append(worker.run(partial(step, student, prompts, points, optimizer)))
                if not math.isfinite(losses[-1]):
                    raise FloatingPointError(f"the loss of iteration {number} is {losses[-1]}: lower the learning rate")
        ctx.report(
            prompts=len(prompts.weights),
            trained_parameters=sum(parameter.numel() for parameter in parameters.values()),
            trajectories=buffer.fillings * params.trajectories,
            weight_change=student.change(),
            losses=losses,
        )
        student.write()


def encode(model: Model, request: Request, params: ESDParams) -> Prompts:
    """Encode the prompts of all concepts, and those that they are erased from."""
    texts, weights = [], []
    for concept in request.forget:
        words = [concept.name] if params.edit_with == "name" else [pair.prompt for pair in concept.pairs]
        texts += words
        weights += [1.0 / len(words)] * len(words)
    source = [] if params.erase_from is None else [params.erase_from]
    states = model.encode([*texts, "", *source]).states
    concept_states, empty = states[: len(texts)], states[len(texts) : len(texts) + 1]
    return Prompts(
        source=states[-1:].expand_as(concept_states) if source else concept_states,
        concept=concept_states,
        empty=empty,
        weights=torch.tensor(weights),
        itself=not source,
    )


def step(student: Student, prompts: Prompts, points: Points, optimizer: torch.optim.Optimizer) -> float:
    """Take one step of the optimiser on ‖ε_θ(x_t, f, t) − target‖², mean over all elements, and return its loss."""
    with torch.enable_grad():
        text = prompts.source[points.rows]
        prediction = student(points.latents.to(text.dtype), points.timesteps, text)
        loss = torch.nn.functional.mse_loss(prediction.float(), points.target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(loss.detach())
