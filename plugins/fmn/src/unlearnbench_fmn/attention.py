"""Cross-attention probabilities of a UNet call, and the loss that steers them away from some positions."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unlearnbench_fmn.params import Loss


class Recorder:
    """An attention processor that keeps the probabilities, with their graph.

    It computes softmax(q kᵀ / √d) v in steps, since the fused operation of torch never shows the probabilities.

    Attributes:
        maps: for each call, [n, heads, queries, positions].
    """

    def __init__(self) -> None:
        self.maps: list[torch.Tensor] = []

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the output of cross-attention; the arguments are those of every processor of diffusers."""
        text = encoder_hidden_states
        layers = ((attn.to_q, hidden_states), (attn.to_k, text), (attn.to_v, text))
        query, key, value = (attn.head_to_batch_dim(layer(states)) for layer, states in layers)
        mask = attn.prepare_attention_mask(attention_mask, text.shape[1], len(text))
        probabilities = attn.get_attention_scores(query, key, mask)
        self.maps.append(probabilities.unflatten(0, (-1, attn.heads)))
        mixed = attn.batch_to_head_dim(torch.bmm(probabilities, value))
        output: torch.Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return output


@contextmanager
def recorded(modules: Iterable[Any]) -> Iterator[list[torch.Tensor]]:
    """Keep the attention probabilities of every call of cross-attention modules inside the block.

    Yields:
        The maps so far, in the order of the calls, each [n, heads, queries, positions].
    """
    recorder = Recorder()
    before = [(module, module.processor) for module in modules]
    for module, _ in before:
        module.set_processor(recorder)
    try:
        yield recorder.maps
    finally:
        for module, processor in before:
            module.set_processor(processor)


def steered(maps: Sequence[torch.Tensor], places: torch.Tensor) -> list[torch.Tensor]:
    """Return the probabilities at chosen positions, one tensor [heads, queries, chosen] for each map and sample.

    Args:
        maps: each [n, heads, queries, positions].
        places: [n, positions] booleans; samples may differ in their number.
    """
    return [
        sample[..., place].float()
        for probabilities in maps
        for sample, place in zip(probabilities, places, strict=True)
    ]


def resteering_loss(chosen: Sequence[torch.Tensor], loss: Loss) -> torch.Tensor:
    """Return Σ ‖A[:, concept]‖² over all attention maps, or with loss = "norm" its square root.

    Args:
        chosen: what `steered` returns.
        loss: the paper's sum of squares (Algorithm 1), or the authors' code: the 2-norm of all probabilities together.
    """
    norms = torch.stack([torch.linalg.vector_norm(probabilities) for probabilities in chosen])
    return norms.square().sum() if loss == "squared" else torch.linalg.vector_norm(norms)


def mean_attention(chosen: Sequence[torch.Tensor]) -> float:
    """Return the mean of the probabilities at the chosen positions, over all maps, heads and queries alike."""
    total = sum(float(probabilities.detach().sum()) for probabilities in chosen)
    return total / sum(probabilities.numel() for probabilities in chosen)
