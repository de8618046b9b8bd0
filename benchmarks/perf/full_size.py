"""What one edit costs at full size: each method on a random model with the shapes of Stable Diffusion 1.4.

    python benchmarks/perf/full_size.py [METHOD ...] [--threads N] [--out FOLDER]

Every method runs through the harness in a process of its own, with as few iterations as show what one costs. What is
found goes to `full-size.json`, where it takes the place of earlier rows of these methods, and to `full-size.md`. The
exit code is 1 if an edit fails, is broken or not finite, or changes other tensors than it should. For Linux.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final, TypeVar

from unlearnbench.progress import Reporter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from unlearnbench.api import Request
    from unlearnbench.model import Model

T = TypeVar("T")
Row = dict[str, Any]
DATASET: Final = "core20"
CONCEPT: Final = "van_gogh"
RETAIN_EVERY: Final = 8
"""Every eighth retain prompt of the data set is taken: their number says nothing about a step."""


@dataclass(frozen=True)
class Setting:
    """How a method is measured, and which tensors it then has to change, as its paper and not its code says.

    Attributes:
        params: what differs from the method's defaults.
        changes: patterns of the tensors that change.
        spared: patterns of those among them that the loss does not reach; {last} is the block of the last
            cross-attention.
    """

    params: Mapping[str, Any]
    changes: tuple[str, ...]
    spared: tuple[str, ...] = ()

    def expected(self, model: Model) -> set[str]:
        """Return the names of the tensors that change."""
        last = next(reversed(model.cross_attention())).removesuffix(".transformer_blocks.0.attn2")
        spared = [pattern.format(last=f"unet.{last}") for pattern in self.spared]
        return {name for name in model.tensors() if _matches(name, self.changes) and not _matches(name, spared)}


FC2: Final = ("text_encoder.*.layers.[1-9]*.mlp.fc2.weight",)
KEYS_AND_VALUES: Final = ("unet.*.attn2.to_k.weight", "unet.*.attn2.to_v.weight")
PAST_THE_MAPS: Final = (
    *(f"{{last}}.transformer_blocks.0.{part}.*" for part in ("attn2.to_v", "attn2.to_out", "norm3", "ff")),
    "{last}.proj_out.*",
    "unet.conv_norm_out.*",
    "unet.conv_out.*",
)
ONE_EPOCH: Final = {"edits": 1, "batch": 1, "inner_steps": 1, "latent_steps": 2}
TWO_STEPS: Final = {"iterations": 2, "accumulation": 1}
SETTINGS: Final[dict[str, Setting]] = {
    "alphaedit": Setting(ONE_EPOCH, FC2),
    "uce": Setting({}, KEYS_AND_VALUES),
    "time": Setting({}, KEYS_AND_VALUES),
    "memit": Setting(ONE_EPOCH, FC2),
    "esd": Setting({"iterations": 3, "sampling_steps": 2}, ("unet.*.attn2.*",)),
    "ca": Setting({"iterations": 3, "batch": 1, "images": 1, "image_steps": 2}, KEYS_AND_VALUES),
    "fmn": Setting({"iterations": 3, "images": 1, "image_steps": 2}, ("unet.*",), PAST_THE_MAPS),
    "siss": Setting(TWO_STEPS, ("unet.*",)),
    "neggrad": Setting(TWO_STEPS, ("unet.*",)),
    "erasediff": Setting(TWO_STEPS, ("unet.*",)),
    "naive-deletion": Setting(TWO_STEPS, ("unet.*",)),
}
DATA: Final = ("siss", "neggrad", "erasediff", "naive-deletion")


class Laps(Reporter):
    """Times what a method iterates over.

    Attributes:
        loops: wall and CPU seconds of each pass through the loops, in order.
    """

    def __init__(self) -> None:
        self.loops: list[list[tuple[float, float]]] = []

    def track(self, items: Iterable[T], label: str) -> Iterator[T]:
        """Iterate, and take the time between one item and the next."""
        laps: list[tuple[float, float]] = []
        self.loops.append(laps)
        for item in items:
            start = time.perf_counter(), time.process_time()
            yield item
            laps.append((time.perf_counter() - start[0], time.process_time() - start[1]))


def measure(method: str, model: Model) -> Row:
    """Run one edit through the harness, and tell what it did and what it cost.

    The steps are the passes of the method's last loop; a closed form has none.
    """
    import torch

    from unlearnbench.plugins import load_plugins
    from unlearnbench.run.plan import check_params
    from unlearnbench.run.stages import run_edit
    from unlearnbench.spec import EditTask

    setting, entry = SETTINGS[method], load_plugins().methods.get(method)
    params = check_params(entry.load_params(), setting.params, method)
    request, laps = data_request(model) if method in DATA else text_request(), Laps()
    task = EditTask(
        method=method,
        origin=entry.origin(),
        params=params.model_dump(mode="json"),
        request=request,
        model=model.info.fingerprint,
        seed=0,
        reads=dict(params.reads(request)),
    )
    with tempfile.TemporaryDirectory() as folder:
        edit = run_edit(
            entry.load()(params), task, model, Path(folder), Path(folder), laps, edits=entry.spec.edits or None
        )
    expected, verdict = setting.expected(model), edit.verdict
    steps = laps.loops[-1] if laps.loops else []
    return {
        "method": method,
        "version": entry.plugin.version,
        "params": dict(setting.params),
        "retain_prompts": len(request.retain),
        "tensors": len(edit.tensors),
        "values": sum(tensor.numel() for tensor in edit.tensors.values()),
        "not_changed": sorted(expected - set(edit.tensors)),
        "others_changed": sorted(set(edit.tensors) - expected),
        "finite": all(bool(tensor.isfinite().all()) for tensor in edit.tensors.values()),
        "verdict": verdict.word if verdict else None,
        "reason": verdict.reason if verdict else None,
        "seconds": edit.seconds,
        "step_seconds": [wall for wall, _ in steps],
        "step_cpu_seconds": [cpu for _, cpu in steps],
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


def text_request() -> Request:
    """Return the request to forget a concept by its prompts."""
    from unlearnbench.plugins import load_plugins
    from unlearnbench.run.request import make_request

    request = make_request(load_plugins().datasets.get(DATASET).load()(), [CONCEPT])
    return request.model_copy(update={"retain": request.retain[::RETAIN_EVERY]})


def data_request(model: Model) -> Request:
    """Return the request to forget one of four made images of the model's size."""
    from PIL import Image

    from unlearnbench.api import DataImage, ForgetConcept, Request

    size = (model.image_size, model.image_size)
    grey = Image.linear_gradient("L").resize(size).convert("RGB")

    def made(colour: str, concept: str = "") -> DataImage:
        image = Image.blend(grey, Image.new("RGB", size, colour), 0.7)
        return DataImage.lazily(lambda: image, id=colour, caption=f"a {colour} wall", concept=concept)

    return Request(
        task="data",
        forget=(ForgetConcept(id="red", kind="object", name="a red wall", target="a wall"),),
        forget_images=(made("red", "red"),),
        retain_images=tuple(made(colour) for colour in ("green", "blue", "yellow")),
    )


def alone(method: str, threads: int, tiny: bool) -> Row:
    """Measure a method in a process that does nothing else, so that the peak memory is its own."""
    import torch

    from unlearnbench.testing import sd14_shaped, tiny_model

    torch.set_num_threads(threads)
    row = measure(method, tiny_model(width=64, positions=77) if tiny else sd14_shaped())
    # Linux counts in KiB.
    return row | {"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "cores": os.cpu_count()}


def wrong(row: Row) -> str | None:
    """Return what is wrong with a measured edit; None = nothing."""
    if "failed" in row:
        return str(row["failed"])
    if row["verdict"] == "broken":
        return str(row["reason"])
    for key, what in (("not_changed", "does not change"), ("others_changed", "changes")):
        if row[key]:
            return f"it {what} {row[key][0]} ({len(row[key])} in all)"
    return None if row["finite"] and row["tensors"] else "it changes nothing, or leaves NaN or infinity"


def markdown(rows: Sequence[Row], model: str) -> str:
    """Return the rows as a page."""
    head = (
        "method", "given", "tensors", "values", "only these, all of them", "finite", "verdict", "edit s", "steps",
        "s a step", "CPU s a step", "peak GiB", "threads", "cores",
    )  # fmt: skip
    lines = [f"# Full size: {model}", "", "| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    for row in rows:
        if "failed" in row:
            lines.append(f"| {row['method']} | failed: {row['failed']} |" + " |" * (len(head) - 2))
            continue
        cells = (
            row["method"],
            ", ".join(f"{key}={value}" for key, value in row["params"].items()) or "defaults",
            row["tensors"],
            f"{row['values']:,}",
            "no" if row["not_changed"] or row["others_changed"] else "yes",
            "yes" if row["finite"] else "no",
            row["verdict"],
            f"{row['seconds']:.1f}",
            len(row["step_seconds"]),
            later(row["step_seconds"]),
            later(row["step_cpu_seconds"]),
            f"{row['peak_gib']:.1f}",
            row["threads"],
            row["cores"],
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def later(seconds: Sequence[float]) -> str:
    """Return the mean of all but the first, which pays for what the others reuse; the only one if there is one."""
    return f"{fmean(seconds[1:] or seconds):.1f}" if seconds else "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write what is found after each method, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(SETTINGS)}; none = all")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/full-size"), help="folder of the results")
    parser.add_argument("--tiny", action="store_true", help="a model of 16 x 16 pixels, to try the command")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.methods if name not in SETTINGS]:
        parser.error(f"there is no setting for {', '.join(unknown)}; name some of {', '.join(SETTINGS)}")
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "full-size.json"
    rows: dict[str, Row] = {}
    if file.exists():
        rows = {row["method"]: row for row in json.loads(file.read_text(encoding="utf-8"))}
    faults = 0
    for method in given.methods or SETTINGS:
        row: Row = {"method": method}
        try:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                row = process.submit(alone, method, given.threads, given.tiny).result()
        except BrokenProcessPool:
            row["failed"] = "its process was ended: was there enough memory?"
        except Exception as error:  # noqa: BLE001  a plugin may raise anything
            row["failed"] = f"{type(error).__name__}: {error}".splitlines()[0]
        rows[method] = row
        done = [rows[name] for name in SETTINGS if name in rows]
        file.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
        shapes = "tiny model" if given.tiny else "shapes of Stable Diffusion 1.4, random weights, float32"
        file.with_suffix(".md").write_text(markdown(done, shapes), encoding="utf-8")
        fault = wrong(row)
        faults += fault is not None
        print(f"{method}: {fault or 'as it should be'}", file=sys.stderr)
    return 1 if faults else 0


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


if __name__ == "__main__":
    sys.exit(main())
