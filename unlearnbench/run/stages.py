"""The stages that need the model: edit and sample. Each is a function of what is stored before it."""

from __future__ import annotations

import logging
import math
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from unlearnbench.api import Method, Sampling
from unlearnbench.edits import EditFile, read_edit, write_edit
from unlearnbench.identity import seed_of
from unlearnbench.leaks import contained
from unlearnbench.run.effects import measure
from unlearnbench.run.faults import edit_faults
from unlearnbench.run.look import look
from unlearnbench.run.several import joined, steps
from unlearnbench.sampling import rewrite, sample
from unlearnbench.store import write_json
from unlearnbench.verdict import REPORT, Effects, Verdict, verdict_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from unlearnbench.model import Model
    from unlearnbench.progress import Reporter
    from unlearnbench.spec import EditTask, SampleTask

T = TypeVar("T")
EDIT_FILE = "edit.safetensors"
INDEX = "index.json"


class Skipped(Exception):  # noqa: N818  an outcome, not an error
    """The method says that it cannot do this edit; the message is its reason."""


@dataclass
class HarnessContext:
    """What a method is lent for one edit (`api.EditContext`)."""

    seed: int
    device: torch.device
    tmp: Path
    log: logging.Logger
    reporter: Reporter
    values: dict[str, Any]

    def generator(self, *scope: str | int) -> torch.Generator:
        """Return a new CPU generator seeded by the edit's seed and `scope`."""
        return torch.Generator().manual_seed(seed_of("edit", self.seed, *scope))

    def progress(self, items: Iterable[T], label: str) -> Iterator[T]:
        """Iterate while the harness shows how far the method is."""
        return self.reporter.track(items, label)

    def report(self, **values: Any) -> None:
        """Record diagnostics with the edit."""
        self.values.update(values)


def run_edit(
    method: Method[Any],
    task: EditTask,
    model: Model,
    folder: Path,
    tmp: Path,
    reporter: Reporter,
    *,
    edits: Sequence[str] | None = None,
) -> EditFile:
    """Edit a pristine model, find out what changed, write the edit file, and leave the model pristine again.

    What the edit did is measured, and the verdict on it is written with it. After a broken edit the model may be
    changed where `Model.restore` does not reach: load it anew.

    Args:
        method: the method, with its parameters.
        task: the edit.
        model: the base model; it is pristine before and after, also when the method raises.
        folder: where `edit.safetensors` and `report.json` go.
        tmp: a folder that the method may write to.
        reporter: told about progress.
        edits: patterns of the tensors that the method's spec declares; None = any.

    Raises:
        Skipped: the method does not support this model or request.
        Exception: whatever the method raises.
    """
    for step in steps(task.request):
        if reason := method.refusal(model.info, step):
            raise Skipped(reason)
    device = model.device
    log = logging.getLogger(f"unlearnbench.method.{task.method}")
    contexts = [HarnessContext(task.seed, device, tmp, log, reporter, {}) for _ in steps(task.request)]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with model.edited():
        before = look(model)
        with contained() as leaks:
            start = time.perf_counter()
            asked = [method.edit(model, *step) for step in zip(steps(task.request), contexts, strict=True)]
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - start
        # Only CUDA tells the peak of one edit; the process's own peak on a CPU is mostly the model's loading.
        peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else math.nan
        after = look(model)
        tensors = model.diff() if before.tensors == after.tensors else {}
    sampling = joined(asked)
    report = contexts[0].values
    if task.request.sequence:
        report = {concept.id: own.values for concept, own in zip(task.request.forget, contexts, strict=True)}
    faults = edit_faults(before, after, tensors, leaks, edits)
    verdict, changes = _verdict(model, tensors, sampling, task, faults)
    edit = EditFile(
        tensors=tensors,
        key=task.key(),
        base=model.info.fingerprint,
        task=task.model_dump(mode="json"),
        sampling=sampling,
        seconds=seconds,
        peak_mem_mb=peak,
        report=report,
        verdict=verdict,
    )
    write_edit(folder / EDIT_FILE, edit)
    write_json(
        folder / REPORT,
        {
            "seconds": seconds,
            "peak_mem_mb": plain(peak),
            "tensors": len(tensors),
            "sampling": sampling.model_dump() if sampling else None,
            "report": plain(report),
            "verdict": verdict.model_dump(mode="json"),
            "changes": changes,
            "left_changed": [str(leak) for leak in leaks],
            "environment": environment(model),
        },
    )
    return edit


def _verdict(
    model: Model, tensors: dict[str, torch.Tensor], sampling: Sampling | None, task: EditTask, faults: list[str]
) -> tuple[Verdict, dict[str, float | None]]:
    """Return the verdict on an edit and the relative change of each tensor; what is broken is not measured further."""
    asks = sampling is not None and sampling != Sampling()
    if faults:
        return verdict_on(Effects(), faults=faults, changed=bool(tensors), samples_otherwise=asks), {}
    found = measure(model, tensors, sampling, task.request)
    verdict = verdict_on(found.effects, faults=found.faults, changed=bool(tensors), samples_otherwise=asks)
    return verdict, found.changes


def run_sample(
    task: SampleTask,
    model: Model,
    sampling: Sampling | None,
    folder: Path,
    batch_size: int,
    on_batch: Callable[[int], None],
) -> None:
    """Sample the images of a task with `model` as it is, and write them with their index.

    Args:
        task: prompts, seeds and sampler.
        model: the model, with the edit of the task applied.
        sampling: what the edit asks of the sampler; None = nothing.
        folder: where the PNG files and `index.json` go.
        batch_size: images a batch; never part of a key.
        on_batch: called with the number of finished images.

    Raises:
        FloatingPointError: the model returned NaN; its images would be noise, so there are none.
    """
    sampling = sampling or Sampling()
    prompts = [rewrite(prompt, sampling.rewrite) for prompt in task.prompts]
    images = sample(
        model,
        prompts,
        task.seeds,
        task.sampler,
        negative_prompt=sampling.negative_prompt,
        batch_size=batch_size,
        on_batch=on_batch,
    )
    rows = []
    for number, image in enumerate(images):
        slot, seed = divmod(number, len(task.seeds))
        name = f"{slot:03d}-{task.seeds[seed]}.png"
        image.save(folder / name)
        rows.append({"slot": slot, "seed": task.seeds[seed], "prompt": prompts[slot], "file": name})
    write_json(folder / INDEX, {"images": rows, "environment": environment(model) | {"batch_size": batch_size}})


def load_edit(folder: Path) -> EditFile:
    """Read the edit file of a stored edit."""
    return read_edit(folder / EDIT_FILE)


def resolve_device(name: str) -> str:
    """Return the device that `name` means: 'auto' is the first GPU if there is one, else the CPU."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def environment(model: Model) -> dict[str, Any]:
    """Return what is recorded beside a result but never enters its key."""
    packages: Sequence[str] = ("torch", "diffusers", "transformers", "numpy", "unlearnbench")
    return {
        "device": str(model.device),
        "dtype": str(model.dtype),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def plain(value: Any) -> Any:
    """Turn diagnostics into JSON; a number that is not finite becomes its name."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, torch.Tensor):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
