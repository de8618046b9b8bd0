"""The parameters of ESD; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from unlearnbench.api import Params

TrainMethod = Literal["esd-x", "esd-x-strict", "esd-u", "esd-all", "selfattn"]
EditWith = Literal["name", "pairs"]
SampledBy = Literal["student", "frozen"]
Timesteps = Literal["interval", "exact"]


class ESDParams(Params):
    """Parameters of ESD; the defaults are those of the paper and its first code."""

    train_method: TrainMethod = Field(
        "esd-x",
        description="linear and convolution layers that are trained: cross-attention ('esd-x'), its keys and values "
        "('esd-x-strict'), all but cross-attention ('esd-u'), all ('esd-all'), self-attention ('selfattn')",
    )
    edit_with: EditWith = Field("name", description="erase the concept's name, or its edit prompts ('pairs')")
    erase_from: str | None = Field(
        None, description="words f that the concept is erased from: ε(f) is trained; none = the concept itself"
    )
    eta: float = Field(1.0, ge=0.0, le=100.0, description="η, negative guidance; the code of 2025 counts it as 1 + η")
    iterations: int = Field(1000, ge=1, le=1_000_000, description="steps of Adam")
    batch: int = Field(1, ge=1, le=1024, description="noisy latents of one step")
    learning_rate: float = Field(1e-5, gt=0.0, le=1.0, description="Adam's learning rate")
    sampled_by: SampledBy = Field("student", description="whose trajectories give x_t: the model in training's (paper)")
    sampling_steps: int = Field(50, ge=1, le=1000, description="DDIM steps of a whole trajectory")
    guidance: float = Field(3.0, ge=0.0, le=50.0, description="guidance scale of the trajectories")
    timesteps: Timesteps = Field(
        "interval", description="t of the loss: uniform between two DDIM steps, or 'exact', where x_t was left"
    )
    trajectories: int = Field(1, ge=1, le=100_000, description="trajectories that one filling of the buffer samples")
    points: int = Field(1, ge=1, le=1000, description="distinct steps of a trajectory that enter the buffer")
    passes: int = Field(1, ge=1, le=100_000, description="times that a buffered x_t is used before the next filling")

    @model_validator(mode="after")
    def _points_lie_on_the_trajectory(self) -> ESDParams:
        if self.points > self.sampling_steps:
            raise ValueError("points is above sampling_steps")
        return self
