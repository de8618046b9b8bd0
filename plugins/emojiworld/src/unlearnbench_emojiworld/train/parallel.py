"""Averaging of gradients over processes of one machine, one thread each, through shared memory.

Two processes of one thread take a step about a third faster than one process of two threads. Start them with
`python -m torch.distributed.run --standalone --nproc-per-node 2 -m unlearnbench_emojiworld.train.unet ...`.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn


@dataclass
class Processes:
    """This process's rank and the number of processes.

    `shelf`: shared memory, float32 [2, processes, numbers]. Steps take turns on its two halves, so that no process can
    overwrite what another one still reads.
    """

    rank: int
    count: int
    shelf: Tensor | None = None
    total: Tensor | None = None
    turn: int = 0
    flag: Tensor = field(default_factory=lambda: torch.zeros(1))

    @classmethod
    def join(cls) -> Processes:
        """Join the group that the launcher announced; without a launcher there is one process."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count > 1 and not distributed.is_initialized():
            distributed.init_process_group("gloo")
        return cls(int(os.environ.get("RANK", "0")), count)

    def open_shelf(self, numbers: int) -> Tensor:
        """Map the shared memory; its file has no name any more once all processes have mapped it."""
        memory = Path("/dev/shm")
        path = (
            memory if memory.is_dir() else Path(tempfile.gettempdir())
        ) / f"unlearnbench-{os.environ['MASTER_PORT']}"
        size = 2 * self.count * numbers
        shelf = torch.from_file(str(path), shared=True, size=size).view(2, self.count, numbers)
        self.wait()
        if self.rank == 0:
            path.unlink()
        return shelf

    def wait(self) -> None:
        """Wait until all processes are here."""
        distributed.all_reduce(self.flag)

    def average(self, parameters: Sequence[nn.Parameter], values: Sequence[float]) -> list[float]:
        """Replace gradients by their mean over processes; return the sums of `values` over processes.

        With one process nothing is changed. Parameters without a gradient count as zero gradient.
        """
        if self.count == 1:
            return list(values)
        sizes = [parameter.numel() for parameter in parameters]
        if self.shelf is None:
            self.shelf = self.open_shelf(sum(sizes) + len(values))
        half = self.shelf[self.turn]
        self.turn = 1 - self.turn
        parts = [(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in parameters]
        torch.cat([*parts, torch.tensor(list(values), dtype=torch.float32)], out=half[self.rank])
        self.wait()
        # Fresh memory for every step would cost more than the sum itself.
        self.total = torch.sum(half, 0, out=torch.empty_like(half[0]) if self.total is None else self.total)
        total = self.total
        told = [float(value) for value in total[sum(sizes) :]]
        total.div_(self.count)
        for parameter, gradient in zip(parameters, torch.split(total[: sum(sizes)], sizes), strict=True):
            if parameter.requires_grad:  # others are locked: an optimizer leaves alone what has no gradient
                parameter.grad = gradient.view_as(parameter)
        return told

    def leave(self) -> None:
        """Leave the group."""
        if self.count > 1:
            distributed.destroy_process_group()
