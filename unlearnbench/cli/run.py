"""`unlearnbench run`: edit, sample, score, and show the board."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from unlearnbench.cli.options import (
    FORMATS,
    device_options,
    model_options,
    open_store,
    params_option,
    parse_params,
    seed_option,
    several_options,
    store_option,
)
from unlearnbench.errors import ExitCode, UserError
from unlearnbench.suites import DEFAULT_SUITE, OWN_CONCEPT_SUITE


@click.command("run")
@click.argument("suite", required=False)
@click.option("-m", "--method", "methods", multiple=True, metavar="NAME", help="Method to run; may be given again.")
@click.option(
    "-c",
    "--concept",
    "concepts",
    multiple=True,
    metavar="NAME",
    help="Forget only this concept of the suite's data set; may be given again.",
)
@click.option(
    "--concept-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"Forget a concept of your own beside the suite's.  [suite: {OWN_CONCEPT_SUITE}]",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="[CONCEPT=]PATH",
    help="Evaluate an edit made elsewhere: an edit file, safetensors, a diffusers or a LoRA folder; one a concept.",
)
@click.option("--label", default="weights", show_default=True, metavar="NAME", help="Row of --weights.")
@click.option("--control", is_flag=True, help="The row of --weights is a control: it gets no rank.")
@several_options
@model_options("Shipped model, folder, or hub id of a Stable Diffusion 1.x or 2.x pipeline.  [default: the suite's]")
@click.option("--evaluator", metavar="NAME", help="Judge.  [default: the suite's]")
@click.option(
    "--set-evaluator", metavar="NAME", help="Compares images with the unedited model's.  [default: the suite's, if any]"
)
@click.option(
    "--captions",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Captions of which the set evaluator compares images, too; no judge is asked about them.",
)
@click.option(
    "--sampling-seed",
    "sampling_seeds",
    multiple=True,
    type=click.IntRange(0, 2**31 - 1),
    metavar="N",
    help="Sample only this seed; may be given again.  [default: the suite's]",
)
@seed_option
@params_option
@device_options
@click.option(
    "--batch-size", default=20, show_default=True, type=click.IntRange(1, 1024), help="Images a batch; changes no key."
)
@store_option
@click.option(
    "--reuse",
    type=click.Choice(["missing", "never", "only"]),
    default="missing",
    show_default=True,
    help="missing: make what the store lacks; never: make everything anew; only: make nothing.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be made, and make nothing.")
@click.option(
    "-f", "--format", "form", type=click.Choice(FORMATS), default="rich", show_default=True, help="Form of the board."
)
def run_command(
    suite: str | None, methods: tuple[str, ...], concepts: tuple[str, ...], several: Any, concept_file: Path | None,
    weights: tuple[str, ...], label: str, control: bool, model: str | None, revision: str | None, evaluator: str | None,
    set_evaluator: str | None, captions: Path | None,
    sampling_seeds: tuple[int, ...], seed: int, params: tuple[str, ...], device: str, dtype: Any, batch_size: int,
    store_root: Path | None, reuse: Any, dry_run: bool, form: str,
) -> int:  # fmt: skip
    """Run methods on SUITE (default: emoji-quick) and show the board.

    What is stored already is not made again: interrupt it, and the same command goes on. Exits with 1 if a task failed
    or an edit is not ok; the verdict on a control's edit does not count.
    """
    from unlearnbench.modelfiles import nothing_downloaded
    from unlearnbench.plugins import load_plugins
    from unlearnbench.run.session import Session

    if control and not weights:
        raise UserError("--control is about a row of --weights, and there is none", "name the weights with --weights")
    plugins = load_plugins()
    with nothing_downloaded() if dry_run else nullcontext():
        session = Session.open(
            plugins,
            suite or (OWN_CONCEPT_SUITE if concept_file else DEFAULT_SUITE),
            concepts=concepts,
            several=several,
            concept_file=concept_file,
            sampling_seeds=sampling_seeds,
            model=model,
            revision=revision,
            evaluator=evaluator,
            set_evaluator=set_evaluator,
            captions=captions,
            params=lambda others: parse_params(methods, others, params),
            absent=dry_run,
        )
        for note in session.notes:
            click.echo(f"note: {note}", err=True)
        plan = session.plan(methods, seed=seed, dtype=dtype, weights=weights, label=label, control=control)
    store = open_store(store_root)
    if dry_run:
        from unlearnbench.run.cost import describe

        click.echo(describe(plan, store if session.complete else None))
        return ExitCode.OK
    from unlearnbench.cli.leaderboard import show_board
    from unlearnbench.cli.progress import reporter
    from unlearnbench.results.publish import publish
    from unlearnbench.run.execute import SerialExecutor

    machine = session.machine(device=device, dtype=dtype, batch_size=batch_size)
    run = SerialExecutor(plan, store, machine, reporter(), reuse).execute()
    scores = publish(plan, run, store, session.suite)
    show_board(scores, form=form)
    speed = (
        f"{run.images} images in {run.sampling_seconds:.0f} s ({run.images / run.sampling_seconds:.1f} a second); "
        if run.images
        else ""
    )
    unsound = run.unsound(besides=plan.control_edits())
    failures = len(run.failed())
    told = [f"{failures} task{'s' if failures > 1 else ''} failed; "] if failures else []
    told += [f"{len(unsound)} edit{'s are' if len(unsound) > 1 else ' is'} not ok; "] if unsound else []
    click.echo(f"{speed}{''.join(told)}scores: {scores.folder}", err=True)
    nothing = bool(plan.edits) and not any(run.outcomes[key].available for key in plan.edits)
    return ExitCode.FAILED if failures or unsound or nothing else ExitCode.OK
