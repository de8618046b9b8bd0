"""`unlearnbench edit`: an edited model, for use elsewhere."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from unlearnbench.api import ForgetConcept, Request, Task
from unlearnbench.cli.options import (
    device_options,
    model_options,
    params_option,
    parse_params,
    seed_option,
    several_options,
)
from unlearnbench.errors import ExitCode, PrerequisiteError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command("edit")
@click.option("-m", "--method", required=True, metavar="NAME", help="Method.")
@click.option(
    "-c", "--concept", "concepts", required=True, multiple=True, metavar="NAME",
    help="Concept of the data set, or any words; may be given again.",
)  # fmt: skip
@several_options
@click.option(
    "--target", metavar="WORDS", help="What takes its place.  [default: the data set's target, else the empty prompt]"
)
@click.option(
    "--kind",
    type=click.Choice(["object", "style", "scene", "action"]),
    default="object",
    show_default=True,
    help="Kind of a concept that is not in the data set.",
)
@click.option(
    "--dataset", metavar="NAME", help="Data set whose concepts may be named, and whose other concepts are retained."
)
@click.option(
    "--task",
    type=click.Choice(get_args(Task)),
    default="erase",
    show_default=True,
    help="What the method is asked to do; debias and data need --dataset.",
)
@model_options("Shipped model, folder, or hub id.", required=True)
@seed_option
@params_option
@device_options
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="New folder for edit.safetensors and report.json.",
)
@click.option("--pipeline", is_flag=True, help="Write the whole edited pipeline too, in DIR/pipeline, unless broken.")
def edit_command(
    method: str, concepts: tuple[str, ...], several: Any, target: str | None, kind: Any, dataset: str | None, task: Any,
    model: str, revision: str | None, seed: int, params: tuple[str, ...], device: str, dtype: Any, output: Path,
    pipeline: bool,
) -> int:  # fmt: skip
    """Edit a model and write what changed. Exits with 1 if the verdict on the edit is not ok."""
    from unlearnbench.model import load_model
    from unlearnbench.modelfiles import fingerprint_folder, local_folder, resolve_folder
    from unlearnbench.plugins import load_plugins
    from unlearnbench.run.plan import check_params
    from unlearnbench.spec import EditTask, ModelSpec

    plugins = load_plugins()
    entry = plugins.methods.get(method)
    values = check_params(entry.load_params(), parse_params([method], [], params)[method], method)
    if len(concepts) > 1 and several is None:
        raise UserError(f"{len(concepts)} concepts are named, and this makes one edit", "add --together or --sequence")
    request = (
        make_words_request(concepts, target, kind, task)
        if dataset is None
        else _dataset_request(plugins, dataset, concepts, target, task)
    )
    if several == "sequence" and len(request.forget) > 1:
        request = request.model_copy(update={"sequence": True})
    if not output.parent.is_dir():
        raise PrerequisiteError(f"cannot write {output}: {output.parent} is no folder", "name another folder with -o")
    if output.exists():
        raise UserError(f"{output} exists", "name a new folder with -o")
    spec = ModelSpec(id=model, revision=revision)
    folder = local_folder(resolve_folder(spec, plugins.shipped_models()), revision)
    edit_task = EditTask(
        method=entry.spec.name, origin=entry.origin(), params=values.model_dump(mode="json"), request=request,
        model=fingerprint_folder(folder), seed=seed, dtype=dtype, reads=dict(values.reads(request)),
    )  # fmt: skip
    runner = entry.load()(values)
    from unlearnbench.run.stages import Skipped, resolve_device, run_edit

    loaded = load_model(spec, folder, resolve_device(device), dtype)
    from unlearnbench.cli.progress import reporter

    try:
        tmp = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise PrerequisiteError(f"cannot write {output}: {error.strerror}", "name another folder with -o") from error
    try:
        (tmp / "work").mkdir()
        try:
            bars = reporter()
            bars.begin("edit", 1, "edits")
            try:
                declared = entry.spec.edits or None
                edit = run_edit(runner, edit_task, loaded, tmp, tmp / "work", bars, edits=declared)
            finally:
                bars.close()
        except Skipped as reason:
            raise UserError(
                f"{method} does not support this edit: {reason}", "choose another method or model"
            ) from reason
        shutil.rmtree(tmp / "work")
        verdict = edit.verdict
        if pipeline and verdict is not None and verdict.word != "broken":
            with loaded.edited() as changed:
                if edit.tensors:
                    changed.apply(edit.tensors)
                changed.save(tmp / "pipeline")
        tmp.rename(output)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
    click.echo(f"{len(edit.tensors)} tensors changed in {edit.seconds:.2f} s: {output}")
    if verdict is None or verdict.word == "ok":
        return ExitCode.OK
    click.echo(f"{verdict.word}: {verdict.reason}", err=True)
    return ExitCode.FAILED


def make_words_request(concepts: Sequence[str], target: str | None, kind: Any, task: Any = "erase") -> Request:
    """Return the request to forget concepts that are given by their words alone, with nothing to retain."""
    if task not in ("erase", "moderate"):
        raise UserError(
            f"words alone do not say what the task '{task}' needs", "name a data set that does: --dataset NAME"
        )
    chosen: dict[str, ForgetConcept] = {}
    for concept in concepts:
        identifier = "_".join("".join(ch if ch.isalnum() and ch.isascii() else " " for ch in concept.lower()).split())
        if not identifier or not identifier[0].isalpha():
            raise UserError(f"'{concept}' is no concept", "name it in words that begin with a letter")
        chosen.setdefault(identifier, ForgetConcept(id=identifier, kind=kind, name=concept, target=target or ""))
    return Request(task=task, forget=tuple(chosen.values()))


def _dataset_request(plugins: Any, dataset: str, concepts: Sequence[str], target: str | None, task: Any) -> Request:
    """Return the request of the data set, with another target if one is given."""
    from unlearnbench.run.request import make_request
    from unlearnbench.suites import find_concept

    data = plugins.datasets.get(dataset).load()()
    request = make_request(data, list(dict.fromkeys(find_concept(data, concept).id for concept in concepts)), task)
    if target is None:
        return request
    # The data set's pairs lead to its own targets: with another one, only the names are left.
    forget = tuple(concept.model_copy(update={"target": target, "pairs": ()}) for concept in request.forget)
    return request.model_copy(update={"forget": forget})
