"""Command-line arguments shared by the training scripts."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from unlearnbench_emojiworld.train.config import DEFAULT, TrainConfig


@dataclass(frozen=True)
class Arguments:
    """What a training script is told.

    `seconds`: when set, the schedule also advances with training time and ends after that many seconds. `start`: folder
    of weights to start from, or None.
    """

    out: Path
    config: TrainConfig
    resume: bool
    seconds: float | None
    save_every: int
    start: Path | None = None


def parse(description: str) -> Arguments:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="folder of all parts of one training")
    parser.add_argument("--config", type=Path, default=DEFAULT, help="settings file")
    parser.add_argument("--without", action="append", default=[], metavar="CONCEPT", help="leave out a concept")
    parser.add_argument("--from", dest="start", type=Path, metavar="WEIGHTS", help="folder of weights to start from")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--seconds", type=float, default=None, help="end the schedule after this much training time")
    parser.add_argument("--save-every", type=int, default=200, help="steps between checkpoints")
    given = parser.parse_args()
    config = TrainConfig.load(given.config)
    if given.without:
        config = config.model_copy(update={"without": tuple(dict.fromkeys((*config.without, *given.without)))})
    return Arguments(given.out, config, given.resume, given.seconds, given.save_every, given.start)
