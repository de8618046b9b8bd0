"""The stages of one training, in their order: what each needs, how it is started, and when it is complete."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnbench.errors import UserError
from unlearnbench_emojiworld.train.fit import CHECKPOINT, PROGRESS
from unlearnbench_emojiworld.train.warm import is_taken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from unlearnbench_emojiworld.train.config import StageName, TrainConfig

TRAINED: tuple[StageName, ...] = ("text", "vae", "decoder", "judge", "refine", "unet", "llava")
ORDER: tuple[StageName, ...] = (
    "data", "tokenizer", "text", "vae", "cache", "decoder", "judge", "refine", "unet", "llava", "export"
)  # fmt: skip
CONFIG, LOG, DONE = "config.yaml", "stages.csv", "done"
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Run:
    """One training: its folder, settings (already written there), weights to start from, and number of processes."""

    out: Path
    config: TrainConfig
    start: Path | None = None
    processes: int = 2

    def complete(self, stage: StageName) -> bool:
        """Tell whether a stage has come to its end."""
        return (self.out / DONE / stage).exists()

    def command(self, stage: StageName) -> list[str]:
        """Return the command of a stage; one that was cut goes on where it was."""
        command = [sys.executable, "-m", f"unlearnbench_emojiworld.train.{stage}", "--out", str(self.out)]
        command += ["--config", str(self.out / CONFIG)]
        if self.start is not None:
            command += ["--from", str(self.start)]
        if stage in TRAINED:
            command += ["--seconds", f"{60.0 * self.config.minutes[stage]:.1f}"]
            if (self.out / stage / CHECKPOINT).exists():
                command.append("--resume")
        return command

    def environments(self, stage: StageName) -> list[dict[str, str]]:
        """Return the environment of each process of a stage: as many as asked for, of one thread, if it is training."""
        if stage not in TRAINED or self.processes == 1 or is_taken(self.start, self.config, stage):
            return [{**os.environ}]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {
            "WORLD_SIZE": str(self.processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        return [{**os.environ, **common, "RANK": str(rank)} for rank in range(self.processes)]

    def run(self, stage: StageName) -> bool:
        """Run a stage, or go on with it; tell whether it came to its end. A line of `stages.csv` says how it went.

        Raises:
            UserError: it failed.
        """
        begin = time.perf_counter()
        # A session of their own, so that Ctrl-C reaches this process alone, which lets them save first.
        asked, codes = wait(
            [subprocess.Popen(self.command(stage), env=env, start_new_session=True) for env in self.environments(stage)]
        )
        seconds = time.perf_counter() - begin
        progress = self.out / stage / PROGRESS
        failed = any(codes) and not asked
        unfinished = progress.exists() and not json.loads(progress.read_text(encoding="utf-8"))["finished"]
        cut = (asked and any(codes)) or unfinished
        outcome = "failed" if failed else "cut" if cut else "complete"
        log = self.out / LOG
        if not log.exists():
            log.write_text("stage,seconds,outcome\n", encoding="utf-8")
        with log.open("a", encoding="utf-8") as lines:
            lines.write(f"{stage},{seconds:.1f},{outcome}\n")
        if failed:
            raise UserError(f"the stage {stage} failed", "read what it said above; the same command goes on from there")
        if not cut:
            (self.out / DONE).mkdir(exist_ok=True)
            (self.out / DONE / stage).touch()
        return not cut


def wait(children: Sequence[subprocess.Popen[bytes]]) -> tuple[bool, list[int]]:
    """Wait for processes; return whether they were asked to stop, and their exit codes.

    A request to stop is passed on, and one process that fails ends the others.
    """
    asked: list[int] = []

    def stop(number: int, _frame: object) -> None:
        asked.append(number)
        for child in children:
            child.terminate()  # a training process finishes its step, saves, and ends well

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while None in (codes := [child.poll() for child in children]):
            if any(codes):
                for child in children:
                    child.kill()
            time.sleep(POLL_SECONDS)
        return bool(asked), [code for code in codes if code is not None]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def budgets(config: TrainConfig, minutes: float | None) -> TrainConfig:
    """Return the settings with the times of training stages scaled so that all stages together take `minutes`.

    Stages that do not train take the time they take; what the settings say of them is an estimate.

    Raises:
        UserError: there would be no time left to train.
    """
    if minutes is None:
        return config
    fixed = sum(time for stage, time in config.minutes.items() if stage not in TRAINED)
    trained = sum(time for stage, time in config.minutes.items() if stage in TRAINED)
    if minutes <= fixed:
        raise UserError(f"{minutes:g} minutes are gone before training begins ({fixed:g})", "give --minutes more")
    factor = (minutes - fixed) / trained
    scaled = {stage: time * factor if stage in TRAINED else time for stage, time in config.minutes.items()}
    return config.model_copy(update={"minutes": scaled})
