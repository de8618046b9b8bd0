"""`unlearnbench edit`: an edited model, for use elsewhere."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, get_args

import click

from unlearnbench.api import ForgetConcept, Request, Task
from unlearnbench.cli.options import device_options, model_options, params_option, parse_params, seed_option
from unlearnbench.errors import ExitCode, PrerequisiteError, UserError


@click.command("edit")
@click.option("-m", "--method", required=True, metavar="NAME", help="Method.")
@click.option("-c", "--concept", required=True, metavar="NAME", help="Concept of the data set, or any words.")
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
@click.option("--pipeline", is_flag=True, help="Write the whole edited pipeline too, in DIR/pipeline.")
def edit_command(
    method: str, concept: str, target: str | None, kind: Any, dataset: str | None, task: Any, model: str,
    revision: str | None,
    seed: int, params: tuple[str, ...], device: str, dtype: Any, output: Path, pipeline: bool,
) -> int:  # fmt: skip
    """Edit a model and write what changed."""
    from unlearnbench.model import load_model
    from unlearnbench.modelfiles import fingerprint_folder, local_folder, resolve_folder
    from unlearnbench.plan import check_params
    from unlearnbench.plugins import load_plugins
    from unlearnbench.spec import EditTask, ModelSpec

    plugins = load_plugins()
    entry = plugins.methods.get(method)
    values = check_params(entry.load_params(), parse_params([method], [], params)[method], method)
    request = (
        make_words_request(concept, target, kind, task)
        if dataset is None
        else _dataset_request(plugins, dataset, concept, target, task)
    )
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
    from unlearnbench.stages import Skipped, resolve_device, run_edit

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
                edit = run_edit(runner, edit_task, loaded, tmp, tmp / "work", bars)
            finally:
                bars.close()
        except Skipped as reason:
            raise UserError(
                f"{method} does not support this edit: {reason}", "choose another method or model"
            ) from reason
        shutil.rmtree(tmp / "work")
        if pipeline:
            with loaded.edited() as changed:
                if edit.tensors:
                    changed.apply(edit.tensors)
                changed.save(tmp / "pipeline")
        tmp.rename(output)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
    click.echo(f"{len(edit.tensors)} tensors changed in {edit.seconds:.2f} s: {output}")
    return ExitCode.OK


def make_words_request(concept: str, target: str | None, kind: Any, task: Any = "erase") -> Request:
    """Return the request to forget a concept that is given by its words alone, with nothing to retain."""
    if task not in ("erase", "moderate"):
        raise UserError(
            f"words alone do not say what the task '{task}' needs", "name a data set that does: --dataset NAME"
        )
    identifier = "_".join("".join(ch if ch.isalnum() and ch.isascii() else " " for ch in concept.lower()).split())
    if not identifier or not identifier[0].isalpha():
        raise UserError(f"'{concept}' is no concept", "name it in words that begin with a letter")
    return Request(task=task, forget=(ForgetConcept(id=identifier, kind=kind, name=concept, target=target or ""),))


def _dataset_request(plugins: Any, dataset: str, concept: str, target: str | None, task: Any) -> Request:
    """Return the request of the data set, with another target if one is given."""
    from unlearnbench.plan import make_request
    from unlearnbench.suites import find_concept

    data = plugins.datasets.get(dataset).load()()
    request = make_request(data, [find_concept(data, concept).id], task)
    if target is None:
        return request
    # The data set's pairs lead to its own target: with another one, only the names are left.
    forget = request.forget[0].model_copy(update={"target": target, "pairs": ()})
    return request.model_copy(update={"forget": (forget,)})
