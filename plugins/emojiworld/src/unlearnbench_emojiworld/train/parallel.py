"""Averaging of gradients over processes of one machine, one thread each.

Two processes of one thread take a step about a third faster than one process of two threads. Start them with
`python -m torch.distributed.run --standalone --nproc-per-node 2 -m unlearnbench_emojiworld.train.unet ...`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """This process's rank and the number of processes."""

    rank: int
    count: int

    @classmethod
    def join(cls) -> Processes:
        """Join the group that the launcher announced; without a launcher there is one process."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count > 1 and not distributed.is_initialized():
            distributed.init_process_group("gloo")
        return cls(int(os.environ.get("RANK", "0")), count)

    def average(self, parameters: Sequence[nn.Parameter], values: Sequence[float]) -> list[float]:
        """Replace gradients by their mean over processes; return the sums of `values` over processes.

        With one process nothing is changed. Parameters without a gradient count as zero gradient.
        """
        if self.count == 1:
            return list(values)
        parts = [(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in parameters]
        flat = torch.cat([*parts, torch.tensor(list(values), dtype=torch.float32)])
        distributed.all_reduce(flat)
        position = 0
        gradients: list[Tensor] = []
        for parameter in parameters:
            gradients.append(flat[position : position + parameter.numel()].view_as(parameter))
            position += parameter.numel()
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.div_(self.count)
        return [float(value) for value in flat[position:]]

    def leave(self) -> None:
        """Leave the group."""
        if self.count > 1:
            distributed.destroy_process_group()
