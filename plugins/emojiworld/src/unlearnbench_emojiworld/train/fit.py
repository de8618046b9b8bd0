"""The training loop of all parts: schedule, checkpoints, log, averaging of weights, orderly stop."""

from __future__ import annotations

import copy
import json
import math
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from unlearnbench.errors import UserError
from unlearnbench_emojiworld.train.arithmetic import choose
from unlearnbench_emojiworld.train.parallel import Processes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from unlearnbench_emojiworld.train.arguments import Arguments
    from unlearnbench_emojiworld.train.config import Optimisation

LOG_EVERY = 25
GRADIENT_NORM = 1.0
CHECKPOINT = "checkpoint.pt"
PROGRESS = "progress.json"
ALWAYS = ("loss", "norm")  # what every step has: if it is not a number, the log shall say so


@dataclass
class Batch:
    """Random numbers of one step: the same for a given seed, step and rank, however often training was resumed.

    `progress`: share of the schedule that is done, 0 to 1, the same in all processes.
    """

    step: int
    size: int
    numbers: np.random.Generator
    progress: float = 0.0


@dataclass
class Part:
    """Something that is trained.

    `loss(batch)` returns the loss and further figures for the log. `shares`: learning rate of a submodule as a share
    of the others'. `averaged`: exponentially averaged copy of the module, None when there is no averaging. `step`
    counts finished steps, `seconds` the time they took.
    """

    name: str
    module: nn.Module
    loss: Callable[[Batch], tuple[Tensor, dict[str, float]]]
    optimisation: Optimisation
    decay: float = 0.0
    weight_decay: float = 0.01
    shares: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    seconds: float = 0.0
    averaged: nn.Module | None = None
    optimizer: torch.optim.AdamW = field(init=False)

    def __post_init__(self) -> None:
        if self.decay and self.averaged is None:
            self.averaged = copy.deepcopy(self.module).requires_grad_(False)
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.module.named_parameters():
            share = next((share for part, share in self.shares.items() if name.startswith(f"{part}.")), 1.0)
            decay = self.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((share, decay), []).append(parameter)
        told = [{"params": found, "weight_decay": decay, "share": share} for (share, decay), found in groups.items()]
        self.optimizer = torch.optim.AdamW(told, lr=self.optimisation.learning_rate, betas=(0.9, 0.99), fused=True)

    def save(self, folder: Path, finished: bool = False) -> None:
        """Write a checkpoint, and beside it how far it is; a stop in between leaves the former one."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "module": self.module.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, folder / f"{CHECKPOINT}.part")
        (folder / f"{CHECKPOINT}.part").replace(folder / CHECKPOINT)
        told = {"step": self.step, "seconds": round(self.seconds, 1), "finished": finished}
        (folder / PROGRESS).write_text(json.dumps(told) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Go on from the checkpoint of a folder. Raises UserError when there is none."""
        if not (folder / CHECKPOINT).exists():
            raise UserError(f"no checkpoint in {folder}", "leave out --resume to start afresh")
        state = torch.load(folder / CHECKPOINT, weights_only=True)
        self.module.load_state_dict(state["module"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]

    def average(self) -> None:
        """Move the averaged weights towards the current ones, faster in the beginning."""
        if self.averaged is None:
            return
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.module.parameters()), 1.0 - decay)


def learning_rate(settings: Optimisation, step: int, progress: float) -> float:
    """Return the learning rate: linear warm-up by steps, cosine decay by progress (0 to 1)."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup))
    return settings.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def seed_step(seed: int, step: int, rank: int) -> np.random.Generator:
    """Seed torch for one step and return a numpy generator for it."""
    sequence = np.random.SeedSequence([seed, step, rank])
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
    return np.random.default_rng(sequence)


def start(arguments: Arguments, offset: int = 0) -> None:
    """Prepare torch: arithmetic, seed of the initial weights, denormal numbers (they slow a step down) flushed."""
    choose(arguments.config.arithmetic)
    torch.set_flush_denormal(True)
    torch.manual_seed(arguments.config.seed + offset)


class Stopper:
    """Becomes true when the process is asked to end."""

    def __init__(self) -> None:
        self.asked = False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.ask)

    def ask(self, _signal: int, _frame: object) -> None:
        """Remember the request."""
        self.asked = True


def fit(
    part: Part,
    arguments: Arguments,
    processes: Processes | None = None,
    visit: Callable[[Part], None] | None = None,
) -> bool:
    """Train a part until its schedule ends or the process is asked to end; the checkpoint is then up to date.

    The log `<out>/<part>.csv` holds step, seconds, learning rate and the means of the loss and figures since the
    last line.

    Args:
        part: what is trained.
        arguments: of the script.
        processes: this process and the others of one training.
        visit: called in the first process after each step.

    Returns:
        Whether the schedule is at its end.
    """
    folder = arguments.out / part.name
    processes = Processes(0, 1) if processes is None else processes
    if arguments.resume:
        part.load(folder)
        if processes.rank == 0:
            forget_later_lines(arguments.out / f"{part.name}.csv", part.step)
    elif processes.rank == 0:
        (arguments.out / f"{part.name}.csv").unlink(missing_ok=True)
    settings, stopper = part.optimisation, Stopper()
    parameters = [p for group in part.optimizer.param_groups for p in group["params"]]
    figures: dict[str, list[float]] = {}
    part.module.train()
    progress = part.step / settings.steps
    if arguments.seconds is not None:
        progress = max(progress, part.seconds / arguments.seconds)
    stop = 0.0
    while progress < 1.0 and not stop:
        begin = time.perf_counter()
        numbers = seed_step(arguments.config.seed, part.step, processes.rank)
        batch = Batch(part.step, settings.batch // processes.count, numbers, progress)
        loss, extra = part.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        progress = (part.step + 1) / settings.steps
        if arguments.seconds is not None:
            progress = max(progress, part.seconds / arguments.seconds)
        told = [progress if processes.rank == 0 else 0.0, float(stopper.asked)]
        progress, stop = processes.average(parameters, told)
        norm = nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
        rate = learning_rate(settings, part.step, progress)
        for group in part.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        part.optimizer.step()
        part.optimizer.zero_grad(set_to_none=True)
        part.step += 1
        part.average()
        part.seconds += time.perf_counter() - begin
        for name, value in {"loss": loss.item(), **extra, "norm": norm.item()}.items():
            figures.setdefault(name, []).append(value)
        done = progress >= 1.0 or stop > 0
        if processes.rank == 0:
            if part.step % LOG_EVERY == 0 or done:
                write_line(arguments.out / f"{part.name}.csv", part, rate, figures)
                figures = {}
            if part.step % arguments.save_every == 0 or done:
                part.save(folder, finished=progress >= 1.0)
            if visit is not None:
                visit(part)
    return progress >= 1.0


def forget_later_lines(path: Path, step: int) -> None:
    """Drop the lines of a log that tell of steps after a checkpoint: they are about to be written again."""
    if not path.exists():
        return
    heading, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([heading, *(line for line in lines if int(line.split(",")[0]) <= step)]), encoding="utf-8")


def write_line(path: Path, part: Part, rate: float, figures: dict[str, list[float]]) -> None:
    """Append one line to the log, with a heading when it is the first."""
    means = {}
    for name, values in figures.items():
        # A step without a figure, such as one whose batch shows no attribute, takes none from the others.
        counted = values if name in ALWAYS else [value for value in values if not math.isnan(value)]
        means[name] = float(np.mean(counted)) if counted else math.nan
    with path.open("a", encoding="utf-8") as log:
        if log.tell() == 0:
            log.write(",".join(["step", "seconds", "rate", *means]) + "\n")
        log.write(
            ",".join([str(part.step), f"{part.seconds:.1f}", f"{rate:.3e}", *(f"{v:.5f}" for v in means.values())])
            + "\n"
        )
