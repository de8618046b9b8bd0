"""What an edit does to a model, from the base and the edit file alone: no image is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import torch

from unlearnbench.run.responses import Answers, Keys, answers, predictions, prompts_of, relative
from unlearnbench.verdict import Effects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unlearnbench.api import Request, Sampling
    from unlearnbench.model import Model
    from unlearnbench.run.responses import Prompts


@dataclass(frozen=True)
class Measured:
    """What was measured of an edit.

    Attributes:
        effects: the figures.
        changes: tensor -> ‖Δ‖ / ‖W‖; None = the base's is zero.
        faults: why the edited model cannot be used, if it cannot.
    """

    effects: Effects
    changes: dict[str, float | None]
    faults: tuple[str, ...] = ()


def measure(model: Model, tensors: Mapping[str, torch.Tensor], sampling: Sampling | None, request: Request) -> Measured:
    """Measure the effects of an edit.

    Args:
        model: the base model; it is pristine before and after.
        tensors: the tensors that the edit replaces, finite, as an edit file holds them.
        sampling: what the edit asks of the sampler.
        request: what was asked; edit and retain prompts are taken from it.
    """
    base = {name: tensor for name, tensor in model.tensors().items() if name in tensors}
    figures, changes = _weights(base, tensors)
    prompts = prompts_of(request)
    before, leakage = _before(model, tensors, prompts)
    with model.edited():
        if tensors:
            model.apply(tensors)
        after = answers(model, (*prompts.edit, *prompts.retain), sampling)
    if not bool(after.empty.isfinite().all() and after.guided(list(after.prompts)).isfinite().all()):
        fault = "the edited model's noise predictions are not finite, though its weights are"
        return Measured(Effects(), changes, (fault,))
    share = figures.pop("changed") / model.info.parameters
    moved = _responses(before, after, prompts)
    if request.task == "debias":  # a concept that is balanced has no target to arrive at
        moved.pop("target_residual", None)
    return Measured(Effects(**figures, **moved, nullspace_leakage=leakage, share_changed=share), changes)


# ---------------------------------------------------------------- weights
def _weights(
    base: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]
) -> tuple[dict[str, Any], dict[str, float | None]]:
    """Return norm, rank and number of the changed values, and the relative change of each tensor."""
    changes: dict[str, float | None] = {}
    ranks, squares, whole, changed = [], 0.0, 0.0, 0
    for name, value in tensors.items():
        old = base[name].detach().cpu()
        delta = value.double() - old.double()
        own, size = float(delta.square().sum()), float(old.double().square().sum())
        changes[name] = math.sqrt(own / size) if size > 0.0 else None
        squares, whole, changed = squares + own, whole + size, changed + int((value != old).sum())
        if value.ndim == 2:
            ranks.append(rank(delta, value))
    return {
        "change_norm": math.sqrt(squares / whole) if whole > 0.0 else None,
        "change_rank": float(median(ranks)) if ranks else None,
        "changed": changed,
    }, changes


def rank(delta: torch.Tensor, edited: torch.Tensor) -> int:
    """Return the rank of a change, as far as rounding lets it be seen.

    Every value of the edited matrix is rounded to its dtype, so the change is known up to a matrix of random entries of
    at most eps/2 · max|W|, whose largest singular value is below eps/2 · max|W| (√m + √n). Twice that counts as zero,
    and so does what float64 cannot tell from zero in ΔΔᵀ, 1e-7 of the largest.

    Args:
        delta: [m, n] float64, edited minus base.
        edited: [m, n] the edited matrix in its own dtype.
    """
    m, n = delta.shape
    small = delta @ delta.T if m <= n else delta.T @ delta
    values = torch.linalg.eigvalsh(small).clamp(min=0.0).sqrt()
    noise = torch.finfo(edited.dtype).eps * float(edited.abs().max()) * (math.sqrt(m) + math.sqrt(n))
    return int((values > max(noise, 1e-7 * float(values.max()))).sum())


# ---------------------------------------------------------------- answers
def _before(model: Model, tensors: Mapping[str, torch.Tensor], prompts: Prompts) -> tuple[Answers, float | None]:
    """Return the base's answers, and how much more a change does to edit keys than to retain keys.

    The keys of a layer are its inputs in the base model. Leakage is √(mean ‖Δ k‖² over retain keys / that over edit
    keys), averaged over the linear layers of the edit: 0 = Δ lies in the null space of the retain keys (AlphaEdit's
    aim), 1 = it does to them what it does to the edit keys.
    """
    layers = _linear(model, tensors)
    edit, retain = Keys(), Keys()
    with edit.watched(layers):
        asked = predictions(model, prompts.edit)
    with retain.watched(layers):
        kept = predictions(model, prompts.retain)
    empty, targets = predictions(model, [""]), predictions(model, prompts.target)
    words = (*prompts.edit, *prompts.retain, *prompts.target)
    found = [math.sqrt(retain.mean(name) / edit.mean(name)) for name in layers if edit.mean(name) > 0.0]
    leakage = fmean(found) if found and prompts.retain else None
    return Answers(empty, dict(zip(words, torch.cat([asked, kept, targets]), strict=True))), leakage


def _linear(model: Model, tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.nn.Linear, torch.Tensor]]:
    """Return the linear layers whose weight an edit replaces, with that weight."""
    roots = {"unet": model.unet, "text_encoder": getattr(model.text_encoder, "text_model", model.text_encoder)}
    found = {}
    for name, value in tensors.items():
        part, _, inner = name.removesuffix(".weight").partition(".")
        layer = roots[part].get_submodule(inner.removeprefix("text_model.")) if name.endswith(".weight") else None
        if isinstance(layer, torch.nn.Linear):
            found[name] = (layer, value)
    return found


def _responses(before: Answers, after: Answers, prompts: Prompts) -> dict[str, float | None]:
    """Return how far answers moved.

    With ε̃(c) the guided answer of the base and ε̃'(c) that of the edited model, over edit prompts c with targets t and
    retain prompts r: response ‖ε̃'(c) − ε̃(c)‖ / ‖ε̃(t) − ε̃(c)‖, residual ‖ε̃'(c) − ε̃(t)‖ / ‖ε̃(t) − ε̃(c)‖, drift
    ‖ε̃'(r) − ε̃(r)‖ / ‖g (ε(r) − ε(∅))‖, each norm over all prompts.
    """
    found: dict[str, float | None] = {}
    if prompts.edit:
        old, new, target = before.guided(prompts.edit), after.guided(prompts.edit), before.guided(prompts.target)
        found["edit_response"] = relative(new - old, target - old)
        found["target_residual"] = relative(new - target, target - old)
    if prompts.retain:
        moved = after.guided(prompts.retain) - before.guided(prompts.retain)
        found["retain_drift"] = relative(moved, before.text(prompts.retain))
    return found
