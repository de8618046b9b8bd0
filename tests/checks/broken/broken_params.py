"""Parameters that each break one rule."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from unlearnbench.testing.fakes import ShiftParams


class Untyped(ShiftParams):
    """`hint` may be anything."""

    hint: Any = Field(None, description="whatever you like")


class Unbounded(ShiftParams):
    """`rate` may be infinite."""

    rate: float = Field(1.0, gt=0.0, description="a learning rate")


class Undescribed(ShiftParams):
    """`steps` is a riddle."""

    steps: int = Field(1, ge=1, le=10)


class Required(ShiftParams):
    """`steps` has no default."""

    steps: int = Field(ge=1, le=10, description="number of steps")


class Forbidden(ShiftParams):
    """`steps` has a default that it may not have."""

    steps: int = Field(0, ge=1, le=10, description="number of steps")


class Rounded(ShiftParams):
    """`share` loses digits in JSON."""

    share: Annotated[float, PlainSerializer(lambda value: round(value, 1))] = Field(
        0.123, ge=0.0, le=1.0, description="share of the way"
    )


class Lenient(ShiftParams):
    """Takes everything."""

    model_config = ConfigDict(extra="ignore")


class Foreign(BaseModel):
    """No subclass of Params."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    amount: float = Field(1.0, ge=0.0, le=10.0, description="how far the weights move")
