"""What a dry run says of images, model calls, hours and disk, by hand on the letters."""

from __future__ import annotations

import math

from unlearnbench.modelfiles import local_folder
from unlearnbench.plugins import load_plugins
from unlearnbench.progress import Reporter
from unlearnbench.run.cost import describe, estimate
from unlearnbench.run.execute import SerialExecutor
from unlearnbench.run.session import ABSENT, Session
from unlearnbench.spec import Cost
from unlearnbench.store import Store

COST = Cost(
    hardware="an abacus", image_seconds=60.0, answer_seconds=3.0, image_kilobytes=5e5, edit_megabytes=2e3,
    edit_seconds={"shift": 1800.0},
)  # fmt: skip


def plan(methods=("shift",), cost=COST):
    session = Session.open(load_plugins(), "letters-quick")
    made = session.plan(methods, seed=0, dtype="float32")
    made.suite = made.suite.model_copy(update={"cost": cost})
    return session, made


def test_everything_is_counted_once(fake, tmp_path):
    """Three concepts, three prompts, two seeds: unedited, two edits of all three, the targets of two."""
    found = estimate(plan()[1], Store(tmp_path))
    images = 3 * 6 + 2 * 3 * 6 + 2 * 6
    assert (found.images, found.answers) == (images - 6, images)  # both letters have the target prompts in common
    assert found.unet_calls == found.images * 2 * 2  # two steps, with and without the prompt
    assert [part.tasks for part in found.parts.values()] == [2, found.images // 6, found.answers // 6]
    assert [part.seconds for part in found.parts.values()] == [3600.0, found.images * 60.0, found.answers * 3.0]
    assert [part.gigabytes for part in found.parts.values()] == [4.0, found.images * 0.5, 0.0]
    assert found.unknown == ()


def test_what_is_stored_costs_nothing(fake, tmp_path):
    session, made = plan()
    store = Store(tmp_path)
    machine = session.machine(device="cpu", dtype="float32", batch_size=20)
    SerialExecutor(made, store, machine, Reporter(), "missing").execute()
    found = estimate(made, store)
    assert (found.images, found.unet_calls, found.answers) == (0, 0, 0)
    assert all(part.stored == part.tasks and part.seconds == part.gigabytes == 0.0 for part in found.parts.values())
    again = estimate(plan(("shift", "other"))[1], store)
    assert again.images == 2 * 3 * 6
    assert again.unknown == ("other",)
    assert again.parts["edit"].seconds == 0.0  # of one method nothing is known, the other is stored


def test_it_is_told_in_hours_and_gigabytes(fake, tmp_path):
    text = describe(plan(("shift", "other"))[1], Store(tmp_path))
    assert "edit        4 tasks, 0 of them stored   1.0 h\n" in text
    assert "on an abacus, without the edits of other\n" in text
    assert text.splitlines()[-1].startswith("about ")
    assert "8.0 edits" in text


def test_without_figures_there_are_none(fake, tmp_path):
    made = plan(cost=None)[1]
    assert all(math.isnan(part.seconds) for part in estimate(made, Store(tmp_path)).parts.values())
    assert "the suite letters-quick has no [cost]" in describe(made, Store(tmp_path))


def test_guidance_up_to_one_is_one_call_a_step(fake, tmp_path):
    made = plan()[1]
    made.suite = made.suite.model_copy(update={"sampler": made.suite.sampler.model_copy(update={"guidance": 1.0})})
    found = estimate(made, Store(tmp_path))
    assert found.unet_calls == found.images * 2


def test_a_dry_run_needs_neither_model_nor_judge(fake, call, tmp_path):
    code, out, err = call("run", "letters-quick", "-m", "shift", "--model", "no/where", "--dry-run")
    assert code == 0
    assert "protocol unknown" in out
    assert "edit        2 tasks, 0 of them stored" in out
    assert "note: the model no/where is not on this machine" in err
    code, out, err = call(
        "run", "letters-quick", "-m", "shift", "--evaluator", "clip", "-p", "clip.model=no/where", "--dry-run"
    )
    assert code == 0
    assert "no/where" in err
    assert call("run", "letters-quick", "-m", "shift", "--model", "no/where")[0] == 3


def test_what_is_absent_has_no_fingerprint(fake):
    session = Session.open(load_plugins(), "letters-quick", model="no/where", absent=True)
    assert not session.complete
    made = session.plan(["shift"], seed=0, dtype="float32")
    assert {task.model for task in made.edits.values()} == {made.judge.fingerprint} == {ABSENT}


def test_a_dry_run_needs_nothing_that_a_method_reads_besides_and_downloads_nothing(fake, call, monkeypatch):
    import fake_params
    import huggingface_hub

    calls = []

    def snapshot(source, **options):
        calls.append(options)
        raise FileNotFoundError("not cached")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(
        fake_params.ShiftParams, "reads", lambda self, request: {"classifier": str(local_folder("no/classifier"))}
    )
    command = ("run", "letters-quick", "-m", "shift")
    assert call(*command, "--dry-run")[0] == 0
    assert calls
    assert all(options["local_files_only"] for options in calls)
    calls.clear()
    code, _, err = call(*command)
    assert code == 3
    assert "no/classifier" in err
    assert not all("local_files_only" in options for options in calls)
