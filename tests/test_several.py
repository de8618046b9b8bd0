"""Several concepts in one edit: at once, and one after the other."""

from __future__ import annotations

import json

import pytest
import torch

from unlearnbench.api import Sampling
from unlearnbench.edits import same_bits
from unlearnbench.plugins import load_plugins
from unlearnbench.progress import Reporter
from unlearnbench.run.request import make_request
from unlearnbench.run.session import Session
from unlearnbench.run.several import groups, joined, label_of, members, steps
from unlearnbench.run.stages import Skipped, run_edit
from unlearnbench.spec import EditTask, Origin
from unlearnbench.testing import Letters, Shift, ShiftParams, tiny_model


def request_of(*concepts, sequence=False):
    return make_request(Letters(), concepts).model_copy(update={"sequence": sequence})


def edit(request, tmp_path, method=None):
    folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    model = tiny_model()
    origin = Origin(distribution="unlearnbench-fake", version="1", source="ub1:")
    task = EditTask(method="shift", origin=origin, params={}, request=request, model=model.info.fingerprint, seed=0)
    made = run_edit(method or Shift(ShiftParams(amount=0.1)), task, model, folder, folder, Reporter())
    return made, json.loads((folder / "report.json").read_text())


def test_a_request_is_one_step_and_a_sequence_one_a_concept():
    both = request_of("alpha", "beta")
    assert steps(both) == [both]
    first, second = steps(request_of("alpha", "beta", sequence=True))
    assert ([c.id for c in first.forget], [c.id for c in second.forget]) == (["alpha"], ["beta"])
    assert not first.sequence
    assert first.retain == second.retain == both.retain
    assert not any("alpha" in prompt or "beta" in prompt for prompt in both.retain)


def test_the_key_of_one_concept_does_not_know_of_several():
    assert "sequence" not in request_of("alpha").model_dump()
    assert request_of("alpha", "beta", sequence=True) != request_of("alpha", "beta")
    assert request_of("alpha", "beta", sequence=True) != request_of("beta", "alpha", sequence=True)


def test_each_step_starts_where_the_one_before_ended(tmp_path):
    made, report = edit(request_of("alpha", "beta", sequence=True), tmp_path)
    alone, _ = edit(request_of("alpha"), tmp_path)
    other, _ = edit(request_of("beta"), tmp_path)
    model = tiny_model()
    base = {f"unet.{name}": tensor for name, tensor in model.unet.state_dict().items()}
    for name, value in made.tensors.items():
        assert torch.allclose(value - base[name], alone.tensors[name] + other.tensors[name] - 2 * base[name], atol=1e-5)
    assert report["report"] == {"alpha": {"amount": 0.1}, "beta": {"amount": 0.1}}
    assert made.verdict.word == "ok"


def test_a_sequence_of_one_is_the_edit_itself(tmp_path):
    alone, _ = edit(request_of("alpha"), tmp_path)
    step, _ = edit(request_of("alpha", sequence=True), tmp_path)
    assert all(same_bits(value, alone.tensors[name]) for name, value in step.tensors.items())


def test_one_step_that_is_refused_refuses_the_sequence(tmp_path):
    class NoBeta(Shift):
        def supports(self, model, request):
            return "it has no beta" if request.forget[0].id == "beta" else None

    with pytest.raises(Skipped, match="it has no beta"):
        edit(request_of("alpha", "beta", sequence=True), tmp_path, NoBeta(ShiftParams()))


def test_what_steps_ask_of_the_sampler_is_joined():
    assert joined([None, None]) is None
    assert joined([None, Sampling(negative_prompt="a dog")]) == Sampling(negative_prompt="a dog")
    both = joined([Sampling(negative_prompt="a dog", rewrite={"dog": "cat"}), Sampling(negative_prompt="ink")])
    assert both == Sampling(negative_prompt="a dog, ink", rewrite={"dog": "cat"})


@pytest.mark.parametrize("several", ["apart", "together", "sequence"])
def test_one_edit_forgets_all_and_the_forget_rate_is_over_all(fake, several):
    session = Session.open(load_plugins(), "letters-quick", concepts=["alpha", "beta"], several=several)
    plan = session.plan(["shift"], seed=0, dtype="float32")
    assert len(plan.edits) == (2 if several == "apart" else 1)
    own = [cell for cell in plan.cells if cell.method == "shift"]
    if several != "apart":
        assert {cell.concept.id: cell.role for cell in own} == {"alpha": "forget", "beta": "forget", "gamma": "retain"}
        assert next(cell for cell in own if cell.concept.id == "gamma").neighbour
        (task,) = plan.edits.values()
        assert task.request.sequence is (several == "sequence")
    swapped = {cell.concept.id for cell in plan.cells if cell.swapped}
    assert swapped == {"alpha", "beta"}
    labels = {cell.forget for cell in own}
    assert labels == {"apart": {"alpha", "beta"}, "together": {"alpha+beta"}, "sequence": {"alpha>beta"}}[several]
    assert {name for label in labels for name in members(label)} == {"alpha", "beta"}


def test_the_three_ways_have_protocols_of_their_own(fake):
    def protocol(several, *concepts):
        session = Session.open(load_plugins(), "letters-quick", concepts=concepts, several=several)
        return session.plan([], seed=0, dtype="float32").protocol

    found = [protocol(way, "alpha", "beta") for way in (None, "together", "sequence")]
    assert len({*found, protocol("sequence", "beta", "alpha")}) == 4
    assert protocol("together", "alpha") == protocol("sequence", "alpha") == protocol(None, "alpha")


def test_labels_name_their_concepts(fake):
    session = Session.open(load_plugins(), "letters-quick", concepts=["alpha"])
    assert groups(session.suite) == [("alpha",)]
    assert label_of(("alpha",), session.suite) == "alpha"
    assert members("alpha") == ("alpha",)
