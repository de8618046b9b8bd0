"""Forget-Me-Not: train the UNet until no part of an image attends to the concept's tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from unlearnbench.api import Method
from unlearnbench.editing.latents import add_noise
from unlearnbench.editing.subnormal import without_subnormals
from unlearnbench.errors import UserError
from unlearnbench_fmn.attention import mean_attention, recorded, resteering_loss, steered
from unlearnbench_fmn.folder import image_files
from unlearnbench_fmn.inversion import inverted
from unlearnbench_fmn.layers import trained
from unlearnbench_fmn.params import FMNParams
from unlearnbench_fmn.references import References, reference_images
from unlearnbench_fmn.student import Student
from unlearnbench_fmn.tokens import places, prompts_of, tokenized

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import EditContext, ForgetConcept, ModelInfo, Request
    from unlearnbench.editing.subnormal import Worker
    from unlearnbench.model import Model


@dataclass(frozen=True)
class Forgetting:
    """What one concept is forgotten with.

    Attributes:
        references: its reference images R.
        states: context embeddings C, [n, positions, width].
        places: their embedding locations N, [n, positions] booleans.
        inversion_losses: of the steps that learnt its tokens, if any were learnt.
    """

    references: References
    states: torch.Tensor
    places: torch.Tensor
    inversion_losses: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Batch:
    """Noisy latents [n, channels, s, s], timesteps [n], text [n, positions, width] and places [n, positions]."""

    latents: torch.Tensor
    timesteps: torch.Tensor
    text: torch.Tensor
    places: torch.Tensor


class ForgetMeNot(Method[FMNParams]):
    """Minimise Σ ‖A_t[:, concept]‖² over the cross-attention maps A_t of a UNet, on noisy images of the concept.

    Source: Zhang et al., Forget-Me-Not: Learning to Forget in Text-to-Image Diffusion Models (2023), arXiv:2303.17591.
    """

    params_type = FMNParams

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse models without text cross-attention, and concepts without a name, prompts or reference images."""
        if model.family != "sd":
            return f"FMN steers cross-attention to text, which a model of family '{model.family}' has not"
        for concept in request.forget:
            if not concept.name.strip():
                return f"FMN steers attention away from the concept's name, and {concept.id} has none"
            if not prompts_of(concept, self.params.edit_with):
                return f"edit_with = 'pairs', but no edit prompt of {concept.id} holds its name"
            if self.params.reference_images is not None:
                folder = Path(self.params.reference_images) / concept.id
                if not image_files(folder):
                    return f"there are no reference images in {folder}"
        return None

    def edit(self, model: Model, request: Request, ctx: EditContext) -> None:
        """Train the parameters of `train_method`, and nothing else; several concepts take turns.

        Raises:
            UserError: the UNet has no cross-attention, a reference image cannot be read, or a name is too long.
            FloatingPointError: the loss became NaN or infinite.
        """
        params = self.params
        parameters = trained(model.unet, params.train_method)
        attention = list(model.cross_attention().values())
        if not attention:
            raise UserError("The UNet has no cross-attention.", "Choose another model or method.")
        losses: list[float] = []
        shares: list[float] = []
        with without_subnormals() as worker:
            concepts = [self._prepared(model, concept, ctx, worker) for concept in request.forget]
            student = Student(model, parameters)
            optimizer = torch.optim.AdamW(
                student.masters.values(), lr=params.learning_rate, weight_decay=params.weight_decay
            )
            with recorded(attention) as maps:
                for number in ctx.progress(range(params.iterations), "iterations"):
                    turns = [concepts[(number * params.batch + i) % len(concepts)] for i in range(params.batch)]
                    batch = draw(model, turns, ctx.generator("iteration", number))
                    loss, share = worker.run(partial(step, student, batch, maps, optimizer, params))
                    losses.append(loss)
                    shares.append(share)
                    if not math.isfinite(loss):
                        raise FloatingPointError(f"the loss of iteration {number} is {loss}: lower the learning rate")
        ctx.report(
            prompts=sum(len(concept.states) for concept in concepts),
            positions=sum(int(concept.places.sum()) for concept in concepts),
            trained_parameters=sum(master.numel() for master in student.masters.values()),
            losses=losses,
            attention=shares,
            inversion_losses={c.id: x.inversion_losses for c, x in zip(request.forget, concepts, strict=True)},
        )
        student.write()

    def _prepared(self, model: Model, concept: ForgetConcept, ctx: EditContext, worker: Worker) -> Forgetting:
        tokens = tokenized(model, concept, self.params.edit_with)
        references = References(model, reference_images(model, concept, self.params, ctx))
        if self.params.inversion:
            tokens, states, losses = inverted(model, tokens, references, self.params, ctx, worker, concept.id)
            return Forgetting(references, states, places(tokens, self.params.eos), losses)
        with torch.no_grad():
            states = model.text_encoder(tokens.ids).last_hidden_state
        return Forgetting(references, states, places(tokens, self.params.eos))


def draw(model: Model, concepts: Sequence[Forgetting], generator: torch.Generator) -> Batch:
    """Draw r ~ R, (c, n) ~ (C, N), t and ε for each concept, one sample of each; x_t = √ᾱ_t r + √(1−ᾱ_t) ε."""
    latents, text, where = [], [], []
    for concept in concepts:
        latents.append(concept.references.draw(generator))
        row = int(torch.randint(len(concept.states), (), generator=generator))
        text.append(concept.states[row])
        where.append(concept.places[row])
    alphas = model.scheduler.alphas_cumprod
    noisy, timesteps = add_noise(torch.stack(latents), alphas, 0, len(alphas) - 1, generator)
    return Batch(noisy, timesteps, torch.stack(text), torch.stack(where))


def step(
    student: Student, batch: Batch, maps: list[torch.Tensor], optimizer: torch.optim.Optimizer, params: FMNParams
) -> tuple[float, float]:
    """Take one step of the optimiser on the resteering loss, gradients clipped.

    Args:
        student: the model in training; its cross-attention writes to `maps`.
        batch: the samples.
        maps: emptied here.
        optimizer: over the student's masters.
        params: which loss, and the norm that gradients are clipped to.

    Returns:
        The loss, and the mean probability at the concept's positions, both from before the step.
    """
    with torch.enable_grad():
        maps.clear()
        student.predict(batch.latents, batch.timesteps, batch.text)
        chosen = steered(maps, batch.places)
        loss = resteering_loss(chosen, params.loss)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.masters.values(), params.max_gradient_norm)
        optimizer.step()
    maps.clear()
    return float(loss.detach()), mean_attention(chosen)
