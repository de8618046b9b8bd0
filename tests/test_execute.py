"""Plan and execution on the tiny model: what is made, what is shared, and what a failure blocks."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest
from pydantic import ValidationError

from unlearnbench.api import EditPair
from unlearnbench.errors import UserError
from unlearnbench.plugins import load_plugins
from unlearnbench.progress import Reporter
from unlearnbench.results.assemble import assemble
from unlearnbench.results.table import validate
from unlearnbench.run.execute import SerialExecutor
from unlearnbench.run.request import make_request
from unlearnbench.run.session import Session
from unlearnbench.spec import Ref, Retained, Suite
from unlearnbench.store import Store
from unlearnbench.suites import narrow
from unlearnbench.testing import Letters


class Notes(Reporter):
    def __init__(self):
        self.units = {}
        self.notes = []

    def begin(self, stage, total, unit):
        self.stage = stage
        self.units[stage] = [0, total]

    def advance(self, units, label):
        self.units[self.stage][0] += units

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def session(fake):
    return Session.open(load_plugins(), "letters-quick")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def execute(session, store, *methods, reuse="missing", params=None, seed=0):
    if params:
        session = Session(**{**vars(session), "params": params})
    plan = session.plan(methods, seed=seed, dtype="float32")
    reporter = Notes()
    machine = session.machine(device="cpu", dtype="float32", batch_size=4)
    run = SerialExecutor(plan, store, machine, reporter, reuse).execute()
    tables = {label: validate(table) for label, table in assemble(plan, run, store).items()}
    return plan, run, tables, reporter


def test_a_run_makes_everything_once_and_then_nothing(session, store):
    plan, run, tables, reporter = execute(session, store, "shift")
    # Unedited 3 concepts, prompt-swap 2 forget lists that are equal, 2 edits x 3 concepts; 3 prompts x 2 seeds each.
    assert len(plan.edits) == 2
    assert len(plan.samples) == 3 + 1 + 6
    assert run.images == plan.images() == 10 * 6
    assert {o.status for o in run.outcomes.values()} == {"done"}
    assert all(done == total for done, total in reporter.units.values())
    assert list(store.verify()) == []
    assert list(tables) == ["unedited", "prompt-swap", "shift"]
    assert all(len(t) == 2 * 3 * 6 for t in tables.values())

    again, second, same, reporter = execute(session, store, "shift")
    assert again.protocol == plan.protocol
    assert {o.status for o in second.outcomes.values()} == {"stored"}
    assert reporter.units == {}
    for label, table in tables.items():
        pd.testing.assert_frame_equal(table, same[label])


def test_rows_say_what_was_asked_of_whom(session, store):
    _, _, tables, _ = execute(session, store, "shift")
    shift, swap, unedited = tables["shift"], tables["prompt-swap"], tables["unedited"]
    assert set(shift.loc[shift.role == "forget", "concept"]) == {"alpha", "beta"}
    assert (shift.loc[shift.role == "forget", "forget"] == shift.loc[shift.role == "forget", "concept"]).all()
    assert (shift.edit_seconds > 0).all()
    assert unedited.edit_seconds.isna().all()
    assert shift.groupby("forget").edit_key.nunique().eq(1).all()
    # The control differs from the unedited model in the prompts of the forgotten concept, and nowhere else.
    merged = swap.merge(unedited, on=["forget", "concept", "prompt_id", "seed"])
    changed = merged.prompt_x != merged.prompt_y
    assert (changed == (merged.role_x == "forget")).all()
    assert (merged.sample_key_x == merged.sample_key_y).eq(~changed).all()
    neighbours = shift[shift.neighbour][["forget", "concept"]].drop_duplicates().to_numpy().tolist()
    assert neighbours == [["alpha", "beta"], ["beta", "alpha"], ["beta", "gamma"]]


def test_a_suite_may_sample_less_of_what_is_retained(session, store):
    suite = session.suite.model_copy(update={"retain": Retained(prompts=("direct",), seed=1)})
    plan, run, tables, _ = execute(Session(**{**vars(session), "suite": suite}), store, "shift")
    shift, unedited = tables["shift"], tables["unedited"]
    drawn = {role: set(zip(rows.prompt_kind, rows.seed, strict=True)) for role, rows in shift.groupby("role")}
    assert drawn["retain"] == {("direct", 1)}
    assert drawn["forget"] == {(kind, seed) for kind in ("direct", "indirect") for seed in (0, 1)}
    # Image by image beside the unedited model, and part of what is sampled of the same concept when it is forgotten.
    keys = ["forget", "concept", "prompt_id", "seed"]
    assert shift[keys].equals(unedited[keys])
    assert plan.images() == run.images
    pairs = [(cell.forget, cell.concept.id, plan.samples[cell.sample]) for cell in plan.cells if cell.method == "shift"]
    forgotten = {name: sample for name, concept, sample in pairs if name == concept}
    for name, concept, sample in pairs:
        if name != concept and concept in forgotten:
            whole = forgotten[concept]
            assert sample.prompts == whole.prompts[: len(sample.prompts)]  # the same places, and so the same noise
    assert plan.protocol != session.plan(["shift"], seed=0, dtype="float32").protocol


class Attacked(Letters):
    """The letters, with an attack on one of them that is forgotten and on one that is only retained."""

    @property
    def concepts(self):
        found = dict(super().concepts)
        for name in ("alpha", "gamma"):
            more = {"adversarial": (f"qx {name} lum",), "target_adversarial": ("one more omega",)}
            found[name] = found[name].model_copy(update={"prompts": found[name].prompts.model_copy(update=more)})
        return found


def test_adversarial_prompts_are_asked_of_what_is_forgotten(session, store):
    plain = session.plan(["shift"], seed=0, dtype="float32")
    attacked = Session(**{**vars(session), "dataset": Attacked()})
    plan, _, tables, _ = execute(attacked, store, "shift")
    assert plan.protocol != plain.protocol
    assert set(plan.edits) == set(plain.edits)  # no method is told
    rows = pd.concat(tables.values()).query("prompt_kind == 'adversarial'")
    assert set(zip(rows["forget"], rows["concept"], rows["prompt_id"], strict=True)) == {
        ("alpha", "alpha", "alpha/adversarial/1")
    }
    asked = rows.groupby("method")["prompt"].unique().map(list).to_dict()
    assert asked == {"unedited": ["qx alpha lum"], "prompt-swap": ["one more omega"], "shift": ["qx alpha lum"]}
    # They come last, so that the other prompts keep their places, and their noise.
    whole, part = (
        next(p.samples[c.sample].prompts for c in p.cells if c.method == "shift" and c.role == "forget")
        for p in (plan, plain)
    )
    assert whole == (*part, "qx alpha lum")


def test_a_concept_without_attacks_is_what_it_was():
    for concept in Letters().concepts.values():
        assert "adversarial" not in str(concept.model_dump())
    assert "adversarial" in str(Attacked().concepts["alpha"].model_dump())


def test_only_a_seed_that_is_sampled_can_be_that_of_what_is_retained(session):
    with pytest.raises(ValidationError, match="none of seeds"):
        Suite.model_validate({**session.suite.model_dump(), "retain": {"seed": 7}})
    two = Suite.model_validate({**session.suite.model_dump(), "retain": {"seed": 1}})
    assert narrow(two, session.dataset, (), (0, 1)).retain.seed == 1
    assert narrow(two, session.dataset, (), (5, 6)).retain.seed == 5


def test_presets_of_the_suite_apply_and_params_override_them(session, store):
    plan, *_ = execute(session, store, "shift", "other", params={"other": {"amount": 2}})
    amounts = {task.method: task.params["amount"] for task in plan.edits.values()}
    assert amounts == {"shift": 0.5, "other": 2.0}
    assert "other[amount=2]" in plan.methods


def test_a_failing_edit_is_recorded_and_blocks_only_its_own_images(session, store):
    _, run, tables, reporter = execute(session, store, "broken", "shift")
    (failed,) = run.failed()
    assert failed.reason == "RuntimeError: the weights exploded"
    assert any("broken beta" in note for note in reporter.notes)
    table = tables["broken"]
    lost = table[table.forget == "beta"]
    assert (lost.status == "failed").all()
    assert lost.p_yes.isna().all()
    assert lost.label.isna().all()
    assert len(lost) == 18
    assert (table[table.forget == "alpha"].status == "ok").all()
    assert (tables["shift"].status == "ok").all()
    (record,) = (store.base / "failures" / "edit").iterdir()
    assert "Traceback" in json.loads(record.read_text())["details"]
    # A failure is tried again, and the model was pristine for whoever came next.
    _, again, _, _ = execute(session, store, "broken")
    assert [o.status for o in again.failed()] == ["failed"]
    _, _, alone, _ = execute(session, Store(store.root.with_name("clean")), "shift")
    columns = ["concept", "prompt_id", "seed", "p_yes", "label"]
    pd.testing.assert_frame_equal(alone["shift"][columns], tables["shift"][columns])


def test_controls_of_a_suite_change_neither_protocol_nor_any_other_task(session):
    plans = []
    for controls in ((), (Ref(name="still"),)):
        asked = replace(session, suite=session.suite.model_copy(update={"controls": controls}))
        plans.append(asked.plan(["shift"], seed=0, dtype="float32"))
    bare, more = plans
    assert bare.protocol == more.protocol
    assert set(more.edits) - set(bare.edits) == more.control_edits()
    assert set(bare.edits) < set(more.edits)
    assert [cell for cell in more.cells if cell.method != "still"] == bare.cells
    assert {label: more.is_control(label) for label in more.methods} == {
        "unedited": True, "prompt-swap": True, "still": True, "shift": False,
    }  # fmt: skip


def test_a_broken_edit_is_stored_with_its_verdict_and_gives_no_images(session, store):
    _, run, tables, reporter = execute(session, store, "nan", "shift")
    assert not run.failed()
    assert [verdict.word for verdict in run.unsound()] == ["broken", "broken"]
    assert any(note.startswith("broken: nan alpha: it changes the base model") for note in reporter.notes)
    table = tables["nan"]
    assert set(table.status) == {"failed"}
    assert table.reason.str.startswith("broken: it changes the base model").all()
    assert set(table.verdict) == {"broken"}
    # The model that came after was not the one that it had changed.
    _, _, alone, _ = execute(session, Store(store.root.with_name("clean")), "shift")
    columns = ["concept", "prompt_id", "seed", "p_yes", "label"]
    pd.testing.assert_frame_equal(alone["shift"][columns], tables["shift"][columns])
    # It is not made again, and not forgotten either.
    _, again, same, _ = execute(session, store, "nan")
    assert [verdict.word for verdict in again.unsound()] == ["broken", "broken"]
    pd.testing.assert_frame_equal(same["nan"], table)


def test_a_no_op_is_sampled_and_told(session, store):
    _, run, tables, _ = execute(session, store, "idle", "shift")
    assert [verdict.word for verdict in run.unsound()] == ["no-op", "no-op"]
    idle = tables["idle"]
    assert set(idle.status) == {"ok"}
    assert set(idle.verdict) == {"no-op"}
    assert set(tables["shift"].verdict) == {"ok"}
    assert tables["unedited"].verdict.isna().all()
    merged = idle.merge(tables["unedited"], on=["forget", "concept", "prompt_id", "seed"])
    assert (merged.p_yes_x == merged.p_yes_y).all()


def test_an_unsupported_edit_is_skipped_with_its_reason(session, store):
    _, run, tables, _ = execute(session, store, "picky")
    assert not run.failed()
    assert set(tables["picky"].status) == {"skipped"}
    assert set(tables["picky"].reason) == {"it only forgets numbers"}


def test_everything_anew_gives_the_same_scores(session, store):
    _, _, before, _ = execute(session, store, "shift")
    _, run, after, _ = execute(session, store, "shift", reuse="never")
    assert {o.status for o in run.outcomes.values()} == {"done"}
    pd.testing.assert_frame_equal(
        before["shift"].drop(columns="edit_seconds"), after["shift"].drop(columns="edit_seconds")
    )
    assert list(store.verify()) == []


def test_reuse_only_makes_nothing(session, store):
    _, run, tables, _ = execute(session, store, "shift", reuse="only")
    assert {o.status for o in run.outcomes.values()} == {"blocked"}
    assert not store.root.exists()
    assert tables["shift"].label.isna().all()


def test_another_seed_of_the_method_is_another_edit(session, store):
    first, *_ = execute(session, store, "shift")
    second, *_ = execute(session, store, "shift", seed=1)
    assert not set(first.edits) & set(second.edits)
    assert first.protocol == second.protocol


def test_a_damaged_edit_fails_its_images_instead_of_showing_unedited_ones(session, store):
    plan, *_ = execute(session, store, "shift")
    key = next(iter(plan.edits))
    file = store.folder("edit", key) / "edit.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    for sample in plan.samples:
        if plan.samples[sample].edit == key:
            (store.folder("sample", sample) / "manifest.json").unlink()
    _, run, tables, _ = execute(session, store, "shift")
    assert len(run.failed()) == 3
    table = tables["shift"]
    assert (table[table.edit_key == key].status == "failed").all()
    assert (table[table.edit_key != key].status == "ok").all()


def test_two_rows_cannot_share_a_label(session):
    with pytest.raises(UserError, match="two rows would be called 'shift'"):
        session.plan(["shift", "shift"], seed=0, dtype="float32")


def test_a_request_protects_no_prompt_that_it_erases(session):
    request = make_request(session.dataset, ["alpha"])
    assert request.forget[0].name == "alpha"
    assert len(request.retain) == 6
    assert not {p.prompt for p in request.forget[0].pairs} & set(request.retain)
    assert request.retain_names == ("beta", "gamma", "delta")
    assert not any("paper" in p for p in (*request.retain, *(q.prompt for q in request.forget[0].pairs)))


def test_a_request_protects_no_prompt_that_names_what_it_erases(session):
    alpha, beta = session.dataset.concepts["alpha"], session.dataset.concepts["beta"]
    named = tuple(
        EditPair(prompt=f"beta beside {name}", target="gamma beside delta")
        for name in (alpha.display, *alpha.aliases, alpha.display.upper(), f"{alpha.display}s", f"{alpha.display}bet")
    )
    concepts = {**session.dataset.concepts, "beta": beta.model_copy(update={"edit": beta.edit + named})}

    class Naming(type(session.dataset)):
        @property
        def concepts(self):
            return concepts

    retain = make_request(Naming(), ["alpha"]).retain
    assert {pair.prompt for pair in beta.edit} <= set(retain)
    assert {pair.prompt for pair in named} & set(retain) == {f"beta beside {alpha.display}bet"}
