"""The parameters of data unlearning; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from unlearnbench.api import Params

Captions = Literal["own", "forget", "none"]
Objective = Literal["code", "paper"]
Scaling = Literal["norm", "share", "none"]


class DataParams(Params):
    """What all of these methods have in common; the defaults are those of the authors' Stable Diffusion experiments."""

    iterations: int = Field(35, ge=1, le=1_000_000, description="steps of AdamW")
    batch: int = Field(1, ge=1, le=4096, description="images of a forward pass, from each of the two sets")
    accumulation: int = Field(16, ge=1, le=4096, description="forward passes whose gradients make one step")
    learning_rate: float = Field(1e-5, gt=0.0, le=1.0, description="AdamW's learning rate")
    beta1: float = Field(0.9, ge=0.0, lt=1.0, description="AdamW's β1")
    beta2: float = Field(0.999, ge=0.0, lt=1.0, description="AdamW's β2")
    weight_decay: float = Field(1e-2, ge=0.0, le=1.0, description="AdamW's weight decay")
    max_gradient_norm: float = Field(1.0, gt=0.0, le=1e9, description="a longer gradient is shortened to it")
    captions: Captions = Field(
        "own",
        description="what conditions the UNet: each image's own caption, the forgotten image's for both of a pair "
        "('forget'), or the empty prompt ('none', unconditional)",
    )
    t_min: int = Field(0, ge=0, le=999, description="least training timestep that is drawn")
    t_max: int = Field(999, ge=0, le=999, description="greatest training timestep that is drawn")

    @model_validator(mode="after")
    def _timesteps_in_order(self) -> DataParams:
        if self.t_min > self.t_max:
            raise ValueError("t_min is above t_max")
        return self


class SISSParams(DataParams):
    """Parameters of SISS."""

    lamb: float = Field(0.5, ge=0.0, le=1.0, description="λ, share of the noised forget images in the mixture")
    importance: bool = Field(True, description="sample from the mixture and weigh; false: two passes ('No IS')")
    objective: Objective = Field(
        "code",
        description="'code': x from the retained images, without factors; 'paper': x from all n images, with n/(n - k) "
        "and k/(n - k) for k forgotten ones",
    )
    scaling: Scaling = Field(
        "norm",
        description="length of the forget gradient: `scaling_norm`, `scaling_share` of the other one's, or its own",
    )
    scaling_norm: float = Field(750.0, gt=0.0, le=1e12, description="length of the forget gradient (scaling = 'norm')")
    scaling_share: float = Field(0.1, gt=0.0, le=1e6, description="the same, as a share (scaling = 'share')")
    superfactor: float = Field(0.0, ge=0.0, le=1e6, description="s: the forget term weighs 1 + s (scaling = 'none')")


class NegGradParams(DataParams):
    """Parameters of NegGrad."""

    superfactor: float = Field(1.0, gt=0.0, le=1e6, description="factor of the negative loss")


class EraseDiffParams(DataParams):
    """Parameters of EraseDiff."""

    eta: float = Field(1e-2, ge=0.0, le=1e6, description="η, least progress on the forget loss")


class NaiveDeletionParams(DataParams):
    """Parameters of naive deletion."""
