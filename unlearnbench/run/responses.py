"""How a model answers prompts: guided noise predictions, before and after an edit."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import torch

from unlearnbench.api import Sampling
from unlearnbench.identity import seed_of
from unlearnbench.sampling import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from unlearnbench.api import Request
    from unlearnbench.model import Model

T = TypeVar("T")
GUIDANCE: Final = 7.5
"""Guidance scale of the answers, the field's default: what moves them moves images."""
TIMES: Final = (0.9, 0.6)
"""Where on the noise schedule, 1 = all noise: there the text decides what the image will show."""
PAIRS: Final = 6
RETAIN: Final = 8
"""How many edit prompts and retain prompts are asked at most, evenly from all: a full-size UNet on a CPU needs seconds
for each, and more prompts change the means little."""
SIZE: Final = 32
"""Largest height and width of the latents: the UNet is convolutional, and answers need no detail."""
_BATCH: Final = 16


@dataclass(frozen=True)
class Prompts:
    """What a model is asked: edit prompts, each with its target, and retain prompts."""

    edit: tuple[str, ...]
    target: tuple[str, ...]
    retain: tuple[str, ...]


def prompts_of(request: Request) -> Prompts:
    """Choose what to ask from what the method was given; evaluation prompts are not in it.

    A concept without pairs is asked by its name. Without retain prompts the targets stand in for them: an edit may
    move these too, but not lose them. Training images are forgotten by no prompt.
    """
    pairs = (
        []
        if request.task == "data"
        else [
            pair
            for concept in request.forget
            for pair in [(p.prompt, p.target) for p in concept.pairs] or [(concept.name, concept.target)]
            if pair[0] != pair[1]
        ]
    )
    chosen = _spread(pairs, PAIRS)
    edit, target = (tuple(side) for side in zip(*chosen, strict=True)) if chosen else ((), ())
    return Prompts(edit, target, tuple(_spread(request.retain or list(dict.fromkeys(target)), RETAIN)))


def _spread(items: Sequence[T], most: int) -> list[T]:
    """Return at most `most` items, evenly from all."""
    n = min(len(items), most)
    return [items[i * len(items) // n] for i in range(n)]


@dataclass(frozen=True)
class Answers:
    """Answers of one model.

    Attributes:
        empty: answer to the unconditional prompt, [1, times, channels, s, s].
        prompts: prompt -> answer, [times, channels, s, s] each, without guidance.
    """

    empty: torch.Tensor
    prompts: Mapping[str, torch.Tensor]

    def guided(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return ε̃ = ε_∅ + g (ε_c − ε_∅) of each prompt, [n, times, channels, s, s] float32; ε_∅ for no prompt."""
        own = torch.stack([self.prompts[prompt] for prompt in prompts]) if prompts else self.empty
        return self.empty + GUIDANCE * (own - self.empty)

    def text(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return what the text adds, g (ε_c − ε_∅)."""
        return self.guided(prompts) - self.empty


@torch.no_grad()
def answers(model: Model, prompts: Sequence[str], sampling: Sampling | None = None) -> Answers:
    """Ask a model, as it is, for its noise predictions of fixed latents.

    Args:
        model: asked with its own text encoder and UNet.
        prompts: what to ask; the answers are found under these words.
        sampling: what an edit asks of the sampler: a negative prompt takes the place of the empty one, and phrases of
            the prompts are rewritten.
    """
    sampling = sampling or Sampling()
    words = list(dict.fromkeys(prompts))
    found = predictions(model, [rewrite(prompt, sampling.rewrite) for prompt in words])
    return Answers(predictions(model, [sampling.negative_prompt or ""]), dict(zip(words, found, strict=True)))


@torch.no_grad()
def predictions(model: Model, prompts: Sequence[str]) -> torch.Tensor:
    """Return the noise predictions of a model, as it is, for fixed latents, [n, times, channels, s, s] float32."""
    latents, timesteps = _latents(model)
    if not prompts:
        return torch.empty(0, *latents.shape)
    states = model.encode(prompts).states.repeat_interleave(len(timesteps), dim=0)
    inputs, times = latents.repeat(len(prompts), 1, 1, 1), timesteps.repeat(len(prompts))
    parts = []
    for start in range(0, len(inputs), _BATCH):
        part = slice(start, start + _BATCH)
        output = model.unet(inputs[part], times[part], encoder_hidden_states=states[part], return_dict=False)[0]
        parts.append(output.float().cpu())
    return torch.cat(parts).reshape(len(prompts), *latents.shape)


def _latents(model: Model) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x_t = √(1 − ᾱ_t) ε of a grey image, [times, channels, s, s], and the timesteps: always the same."""
    alphas = model.scheduler.alphas_cumprod.float().cpu()
    times = torch.tensor([round(share * (len(alphas) - 1)) for share in TIMES])
    size = min(model.info.latent_size, SIZE)
    generator = torch.Generator().manual_seed(seed_of("responses"))
    noise = torch.randn(len(times), model.unet.config.in_channels, size, size, generator=generator)
    latents = (1.0 - alphas[times]).sqrt()[:, None, None, None] * noise
    return latents.to(model.device, model.dtype), times.to(model.device)


def relative(change: torch.Tensor, scale: torch.Tensor) -> float | None:
    """Return ‖change‖ / ‖scale‖; None = the scale is zero."""
    size = float(scale.double().norm())
    return float(change.double().norm()) / size if size > 0.0 else None


class Keys:
    """Sums of squares of what a change adds to the outputs of layers: Σ‖ΔK‖² and the number of keys, by layer."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, int]] = {}

    def mean(self, name: str) -> float:
        """Return the mean of ‖Δk‖² over the keys of a layer; 0 if it saw none."""
        total, count = self.sums.get(name, (0.0, 0))
        return total / count if count else 0.0

    @contextmanager
    def watched(self, layers: Mapping[str, tuple[torch.nn.Linear, torch.Tensor]]) -> Iterator[None]:
        """Sum up over all forward passes inside the block.

        Args:
            layers: name -> the layer, unedited, and its edited weight.
        """

        def hook(name: str, edited: torch.Tensor) -> Callable[[torch.nn.Linear, tuple[Any, ...]], None]:
            def add(layer: torch.nn.Linear, inputs: tuple[Any, ...]) -> None:
                keys: torch.Tensor = inputs[0].detach().float()
                delta = edited.to(keys.device).float() - layer.weight.detach().float()
                added = float(torch.nn.functional.linear(keys, delta).double().square().sum())
                total, count = self.sums.get(name, (0.0, 0))
                self.sums[name] = total + added, count + keys.shape[:-1].numel()

            return add

        handles = [layer.register_forward_pre_hook(hook(name, edited)) for name, (layer, edited) in layers.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
