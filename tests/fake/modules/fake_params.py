from pydantic import Field

from unlearnbench.testing import fakes
from unlearnbench.testing.fakes import BrightnessParams

__all__ = ["BrightnessParams", "ShiftParams"]


class ShiftParams(fakes.ShiftParams):
    """Parameters of the fake methods."""

    fail_on: str = Field("beta", description="the concept that `broken` fails on")
