"""Train everything: `python -m unlearnbench_emojiworld.train --out DIR [--from WEIGHTS]`.

Runs the stages in order, each for its time in the settings; the same command goes on with what was cut and skips what
is complete. `--without` leaves out a concept, for the gold standard.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.errors import UserError
from unlearnbench_emojiworld.train.arithmetic import faster
from unlearnbench_emojiworld.train.config import DEFAULT, TrainConfig
from unlearnbench_emojiworld.train.data import DRAWN_FROM, drawn_from
from unlearnbench_emojiworld.train.stages import CONFIG, DONE, ORDER, Run, budgets
from unlearnbench_emojiworld.train.warm import check_weights, starts_afresh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench_emojiworld.train.config import StageName


def settings(out: Path, given: Path, without: Sequence[str], minutes: float | None) -> TrainConfig:
    """Return the settings of a training and write them into its folder, unless they are there.

    Raises:
        UserError: the folder holds a training with other settings, or a concept is unknown.
    """
    wanted = TrainConfig.load(given)
    wanted = wanted.model_copy(update={"without": tuple(dict.fromkeys((*wanted.without, *without)))})
    path = out / CONFIG
    if path.exists():
        known = TrainConfig.load(path)
        free = {"minutes": {}, "arithmetic": "auto"}
        if known.model_copy(update=free) != wanted.model_copy(update=free):
            raise UserError(f"{out} holds a training with other settings", "name another folder with --out")
        wanted = wanted.model_copy(update={"arithmetic": known.arithmetic})
    wanted = budgets(wanted, minutes)
    wanted.world()
    if wanted.arithmetic == "auto":
        wanted = wanted.model_copy(update={"arithmetic": faster()})
        print(f"arithmetic: {wanted.arithmetic}, the faster one here")
    out.mkdir(parents=True, exist_ok=True)
    wanted.save(path)
    return wanted


def check_pictures(run: Run) -> None:
    """Refuse to go on with pictures of another version of the world.

    Raises:
        UserError: they are of one.
    """
    path = run.out / "data" / DRAWN_FROM
    found = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    if run.complete("data") and found != drawn_from(run.config):
        raise UserError(
            f"the pictures in {run.out} were drawn from another version of EmojiWorld",
            f"delete {run.out / DONE / 'data'} to draw them again, and with it the stages that learned from them",
        )


def train(run: Run, only: Sequence[StageName]) -> bool:
    """Run the stages that are not complete; tell whether all of them are now.

    Raises:
        UserError: a stage failed, or is not in the settings.
    """
    if unknown := [stage for stage in only if stage not in run.config.minutes]:
        raise UserError(f"the settings have no time for {unknown[0]}", f"name one of {', '.join(run.config.minutes)}")
    check_pictures(run)
    for stage in (stage for stage in ORDER if stage in (only or run.config.minutes)):
        if run.complete(stage):
            print(f"{stage}: complete")
            continue
        print(f"{stage}: {run.config.minutes[stage]:.1f} minutes", flush=True)
        if not run.run(stage):
            print(f"{stage}: cut; the same command goes on with it")
            return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """Train, or go on; return 0 if all stages are complete, 1 if one was cut or failed, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m unlearnbench_emojiworld.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the training")
    parser.add_argument("--config", type=Path, default=DEFAULT, help="settings file (default: the shipped one)")
    parser.add_argument("--from", dest="start", type=Path, metavar="WEIGHTS", help="folder of weights to start from")
    parser.add_argument(
        "--without", action="append", default=[], metavar="CONCEPT", help="leave out; may be given again"
    )
    parser.add_argument(
        "--only", action="append", default=[], choices=ORDER, metavar="STAGE", help="may be given again"
    )
    parser.add_argument("--minutes", type=float, help="time of all stages together (default: as in the settings)")
    parser.add_argument("--processes", type=int, default=2, choices=(1, 2), help="of one thread each, where it trains")
    given = parser.parse_args(arguments)
    try:
        if given.start is not None:
            check_weights(given.start)
        config = settings(given.out, given.config, given.without, given.minutes)
        if note := starts_afresh(config, given.start):
            print(note)
        done = train(Run(given.out, config, given.start, given.processes), given.only)
    except UserError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
