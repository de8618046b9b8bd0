"""The protocol of a run: all that two rows must share to stand on the same board."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlearnbench.run.request import make_question
from unlearnbench.run.several import groups, label_of
from unlearnbench.spec import Dtype, Retained, Suite

if TYPE_CHECKING:
    from unlearnbench.api import ConceptDataset
    from unlearnbench.captions import CaptionSet
    from unlearnbench.run.plan import Judge


def protocol_fields(
    suite: Suite,
    dataset: ConceptDataset,
    judge: Judge,
    model_fingerprint: str,
    dtype: Dtype,
    comparer: Judge | None = None,
    captions: CaptionSet | None = None,
) -> dict[str, Any]:
    """Return what two rows must share to stand on the same board."""
    return {
        "suite": suite.name,
        "version": suite.version,
        "model": model_fingerprint,
        "forget": [label_of(group, suite) for group in groups(suite)],
        "evaluate": list(suite.evaluate),
        **({} if suite.task == "erase" else {"task": suite.task}),
        "prompts": {c: [p.model_dump() for p in dataset.prompts(c)] for c in suite.evaluate},
        "questions": {c: make_question(dataset, dataset.concepts[c], suite.task).model_dump() for c in suite.evaluate},
        "overlaps": {c: list(dataset.concepts[c].overlaps) for c in suite.forget},
        "neighbours": {c: list(dataset.concepts[c].neighbours) for c in suite.evaluate},
        "seeds": list(suite.seeds),
        **({} if suite.retain == Retained() else {"retain": suite.retain.model_dump(mode="json")}),
        "sampler": suite.sampler.model_dump(),
        "dtype": dtype,
        "judge": _identified(judge),
        **({} if comparer is None else {"set_evaluator": _identified(comparer)}),
        **({} if captions is None else {"captions": captions.identified(suite.seeds[0])}),
    }


def _identified(judge: Judge) -> dict[str, Any]:
    return {
        "name": judge.name,
        "origin": judge.origin.model_dump(),
        "params": judge.params.model_dump(mode="json"),
        "fingerprint": judge.fingerprint,
    }
