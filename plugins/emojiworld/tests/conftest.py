"""What the tests of training leave behind."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _subnormal_numbers_are_kept():
    """Training flushes subnormal numbers in the thread it runs in, here the one of all other tests."""
    yield
    torch.set_flush_denormal(False)
