"""A data set in a module that imports torch."""

import torch

from unlearnbench.testing import fakes

WIDTH = torch.zeros(1).numel()


class Heavy(fakes.Letters):
    pass
