"""Textual inversion: new tokens that show the concept, learnt from its reference images."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch

from unlearnbench.editing.latents import predict
from unlearnbench_fmn.tokens import encoded, renamed

if TYPE_CHECKING:
    from unlearnbench.api import EditContext
    from unlearnbench.editing.subnormal import Worker
    from unlearnbench.model import Model
    from unlearnbench_fmn.params import FMNParams
    from unlearnbench_fmn.references import References
    from unlearnbench_fmn.tokens import Tokens


def inverted(
    model: Model,
    tokens: Tokens,
    references: References,
    params: FMNParams,
    ctx: EditContext,
    worker: Worker,
    label: str,
) -> tuple[Tokens, torch.Tensor, list[float]]:
    """Learn tokens that stand for the concept, and put them in its name's place.

    The model stays as it is: the new tokens live in a longer copy of the embedding table.

    Args:
        model: the unedited model.
        tokens: prompts of the concept.
        references: its reference images.
        params: parameters of Forget-Me-Not.
        ctx: where random numbers come from.
        worker: runs the steps.
        label: the concept's id.

    Returns:
        The prompts with the new tokens, their text embedding [n, positions, width], and the loss of every step.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    table: torch.Tensor = model.text_encoder.get_input_embeddings().weight
    rows = first_rows(table, tokens, params.inversion_tokens, ctx.generator("inversion", label))
    new = renamed(tokens, range(len(table), len(table) + len(rows)), model.tokenizer.pad_token_id)
    optimizer = torch.optim.AdamW([rows], lr=params.inversion_learning_rate, weight_decay=params.inversion_weight_decay)
    losses: list[float] = []
    for number in ctx.progress(range(params.inversion_iterations), f"tokens of {label}"):
        for group in optimizer.param_groups:
            group["lr"] = params.inversion_learning_rate * min(1.0, (number + 1) / params.inversion_warmup)
        generator = ctx.generator("inversion", label, number)
        losses.append(
            worker.run(partial(_step, model, new, rows, references, optimizer, params.inversion_norm, generator))
        )
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"inversion's loss {number} is {losses[-1]}: lower inversion_learning_rate")
    with torch.no_grad():
        return new, encoded(model, new.ids, rows), losses


def first_rows(table: torch.Tensor, tokens: Tokens, count: int, generator: torch.Generator) -> torch.Tensor:
    """Return the embeddings that learning starts from: of the name's tokens, then standard normal; [count, width]."""
    known = table[list(tokens.name[:count])].detach().float()
    noise = torch.randn(count - len(known), table.shape[1], generator=generator)
    return torch.cat([known, noise.to(known)]).requires_grad_(True)


def denoising_target(model: Model, latents: torch.Tensor, noise: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Return what the model was trained to predict: ε, or the velocity √ᾱ ε − √(1−ᾱ) x_0."""
    if model.info.prediction == "epsilon":
        return noise
    return alpha.sqrt() * noise - (1.0 - alpha).sqrt() * latents


def drawn_to(rows: torch.Tensor, norm: float, learning_rate: float) -> torch.Tensor:
    """Return rows whose norms went min(1, 100 · learning rate) of the way to `norm`."""
    now = rows.norm(dim=-1, keepdim=True)
    drawn: torch.Tensor = rows * ((now + min(1.0, 100.0 * learning_rate) * (norm - now)) / now)
    return drawn


def _step(
    model: Model,
    tokens: Tokens,
    rows: torch.Tensor,
    references: References,
    optimizer: torch.optim.Optimizer,
    norm: float,
    generator: torch.Generator,
) -> float:
    """Take one step on ‖ε − ε_θ(x_t, c, t)‖², mean over all elements, and return its loss."""
    x0 = references.draw(generator, flip=True)[None]
    alphas: torch.Tensor = model.scheduler.alphas_cumprod
    timestep = torch.randint(len(alphas), (1,), generator=generator)
    noise = torch.randn(x0.shape, generator=generator).to(x0.device)
    alpha = alphas.cpu()[timestep].to(x0)[:, None, None, None]
    noisy = (alpha.sqrt() * x0 + (1.0 - alpha).sqrt() * noise).to(model.dtype)
    row = torch.randint(len(tokens.ids), (1,), generator=generator).to(tokens.ids.device)
    with torch.enable_grad():
        text = encoded(model, tokens.ids[row], rows)
        prediction = predict(model, noisy, timestep.to(x0.device), text).float()
        loss = torch.nn.functional.mse_loss(prediction, denoising_target(model, x0, noise, alpha))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        rows.copy_(drawn_to(rows, norm, optimizer.param_groups[0]["lr"]))
    return float(loss.detach())
