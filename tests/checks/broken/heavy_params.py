"""Parameters in a module that imports torch."""

import torch

from unlearnbench.testing.fakes import ShiftParams

WIDTH = torch.zeros(1).numel()


class Heavy(ShiftParams):
    """The parameters of Shift."""
