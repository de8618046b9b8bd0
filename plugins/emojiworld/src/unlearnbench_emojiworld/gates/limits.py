"""What the weights must reach, and whether they do (design of EmojiWorld; spec of the evaluation, 6.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Sense = Literal["at least", "at most"]

DIRECT, DIRECT_LEAST, INDIRECT, STYLE = 0.97, 0.85, 0.90, 0.95
SENSITIVITY, FALSE_POSITIVE, KAPPA = 0.98, 0.02, 0.85
UNEDITED_FORGET, SKEW, REPRODUCED = 0.10, 0.10, 0.80
MEGABYTES, SECONDS, LOAD_SECONDS = 60.0, 3.0, 2.0


@dataclass(frozen=True)
class Gate:
    """One limit and the value that was measured; NaN = it could not be measured, which is not met."""

    name: str
    sense: Sense
    limit: float
    value: float
    note: str = ""

    @property
    def verdict(self) -> Literal["met", "missed", "not measured"]:
        """Tell whether the value is within the limit."""
        if math.isnan(self.value):
            return "not measured"
        within = self.value >= self.limit if self.sense == "at least" else self.value <= self.limit
        return "met" if within else "missed"
