from pydantic import Field

from unlearnbench.api import Params


class ShiftParams(Params):
    """Parameters of the fake methods."""

    amount: float = Field(1.0, ge=0.0, le=10.0, description="how far the weights move, in weight units")
    fail_on: str = Field("beta", description="the concept that `broken` fails on")


class BrightnessParams(Params):
    """Parameters of the fake judge."""

    threshold: float = Field(0.5, ge=0.0, le=1.0, description="mean brightness from which on the answer is yes")
