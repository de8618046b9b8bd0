"""The noise schedule of the generator: that of Stable Diffusion 1."""

from __future__ import annotations

from typing import Any

NOISE_STEPS = 1000
SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": NOISE_STEPS,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
