"""The model in training: UNet and text encoder with single-precision copies of what is trained in their places."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.func import functional_call

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from unlearnbench.model import Model


class Student:
    """ε_θ, trained on float32 copies; the model keeps its own parameters until `write`.

    The copies are float32 whatever the dtype of the model: at a learning rate of 1e-5 an optimiser's step on weights in
    bfloat16 is rounded away wherever a weight is above 0.005.

    Attributes:
        masters: trained copies, the only tensors that ask for a gradient: parameters of the UNet by name, and under ''
            the rows of the token embedding, if any are trained.
    """

    def __init__(self, model: Model, parameters: Mapping[str, torch.nn.Parameter], tokens: Sequence[int] = ()) -> None:
        """Copy what is trained.

        Args:
            model: what is edited.
            parameters: parameters of its UNet that are trained, by name.
            tokens: distinct token ids whose embeddings are trained.
        """
        self._model, self._parameters = model, parameters
        self._table: torch.nn.Parameter = model.text_encoder.get_input_embeddings().weight
        names = [name for name, p in model.text_encoder.named_parameters() if p is self._table]
        self._table_name = names[0]
        self._tokens = torch.tensor(list(tokens), dtype=torch.int64, device=model.device)
        self.masters = {name: _master(parameter) for name, parameter in parameters.items()}
        if tokens:
            self.masters[""] = _master(self._table[self._tokens])

    def encode(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return text embeddings, [n, positions, width]."""
        if "" not in self.masters:
            return self._model.encode(prompts).states
        ids, _, _ = self._model.tokenize(prompts)
        rows = self.masters[""].to(self._table.dtype)
        table = {self._table_name: self._table.index_copy(0, self._tokens, rows)}
        output: torch.Tensor = functional_call(self._model.text_encoder, table, (ids,)).last_hidden_state
        return output

    def predict(self, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return the prediction in float32.

        Args:
            latents: [n, channels, s, s].
            timesteps: [n].
            text: [n, positions, width].
        """
        values = {name: self.masters[name].to(parameter.dtype) for name, parameter in self._parameters.items()}
        inputs = (latents.to(text.dtype), timesteps, text)
        output: torch.Tensor = functional_call(self._model.unet, values, inputs, {"return_dict": False})[0]
        return output.float()

    @torch.no_grad()
    def change(self) -> float:
        """Return ‖θ − θ*‖ / ‖θ*‖ over all that is trained together, θ* the unedited model."""
        pairs = [(self.masters[name], parameter.float()) for name, parameter in self._parameters.items()]
        if "" in self.masters:
            pairs.append((self.masters[""], self._table[self._tokens].float()))
        moved = sum(float((new - old).square().sum(dtype=torch.float64)) for new, old in pairs)
        size = sum(float(old.square().sum(dtype=torch.float64)) for _, old in pairs)
        return math.sqrt(moved / size)

    @torch.no_grad()
    def write(self) -> None:
        """Give the model the trained values, in its dtype."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self.masters[name])
        if "" in self.masters:
            self._table[self._tokens] = self.masters[""].to(self._table.dtype)


def _master(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to(torch.float32, copy=True).requires_grad_(True)


@contextmanager
def bos_detached(attention: Mapping[str, torch.nn.Module]) -> Iterator[None]:
    """Let no gradient pass through keys and values of the first position, BOS, inside the block.

    That position is the same for every prompt, so that what it learns would change all of them.
    """

    def cut(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        return torch.cat([output[:, :1].detach(), output[:, 1:]], dim=1)

    layers = [module.get_submodule(part) for module in attention.values() for part in ("to_k", "to_v")]
    handles = [layer.register_forward_hook(cut) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
