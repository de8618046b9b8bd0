"""The arithmetic of matrix products in training: float32 or bfloat16, whichever a machine does faster."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from unlearnbench_emojiworld.train.config import Arithmetic

TRIALS, REPEATS = 3, 4


class _Chosen:
    """What `mixed` uses; set once a process by `choose`."""

    bfloat16 = False


def choose(arithmetic: Arithmetic) -> None:
    """Set the arithmetic of `mixed`, measuring first if that is asked for."""
    _Chosen.bfloat16 = (faster() if arithmetic == "auto" else arithmetic) == "bfloat16"


def mixed() -> torch.autocast:
    """Return the context in which matrix products and convolutions have the chosen arithmetic; weights are float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=_Chosen.bfloat16)


def faster() -> Arithmetic:
    """Return the arithmetic in which a convolution of the noise predictor and its gradient take less time here.

    The least time of a few trials counts, since other work on the machine only adds to it.
    """
    layer = torch.nn.Conv2d(128, 128, 3, padding=1)
    pictures = torch.randn(16, 128, 16, 16, requires_grad=True)

    def seconds(enabled: bool) -> float:
        taken = []
        for _ in range(TRIALS + 1):
            begin = time.perf_counter()
            for _ in range(REPEATS):
                with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                    loss = layer(pictures).float().square().mean()
                loss.backward()
            taken.append(time.perf_counter() - begin)
        return min(taken[1:])  # the first one prepares kernels

    return "bfloat16" if seconds(True) < 0.9 * seconds(False) else "float32"
