"""The verdict: its words, their order, and what is stored of it."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from unlearnbench.results.table import EFFECTS
from unlearnbench.spec import Column
from unlearnbench.verdict import NO_RESPONSE, TEXT_LOST, Effects, Verdict, stored_verdict, verdict_on

FIGURES = st.none() | st.floats(0.0, 5.0)


def verdict(response=0.9, drift=0.1, *, faults=(), changed=True, samples_otherwise=False):
    effects = Effects(edit_response=response, retain_drift=drift)
    return verdict_on(effects, faults=faults, changed=changed, samples_otherwise=samples_otherwise)


@pytest.mark.parametrize(
    ("made", "word", "reason"),
    [
        (verdict(), "ok", "edit prompts moved by 0.9 of the way to their targets and .* retain prompts moved by 0.1"),
        (verdict(None, None), "ok", "no prompt to measure it by"),
        (verdict(changed=False), "no-op", "no tensor has another value"),
        (verdict(NO_RESPONSE * 0.99), "no-op", "moved by 0.0099 of the way"),
        (verdict(NO_RESPONSE), "ok", "moved by 0.01"),
        (verdict(drift=TEXT_LOST), "collapsed", "moved 0.98 times as far as without any text"),
        (verdict(drift=TEXT_LOST * 0.99), "ok", "0.97 of what text adds"),
        (verdict(faults=["it is wrong", "and odd"]), "broken", r"it is wrong \(and 1 more\)"),
    ],
)
def test_each_word_has_its_limit_and_its_reason(made, word, reason):
    assert made.word == word
    assert re.search(reason, made.reason)


def test_a_method_that_acts_at_inference_is_no_no_op():
    for changed in (False, True):
        assert verdict(0.0, 0.0, changed=changed, samples_otherwise=True).word == "ok"
    assert verdict(None, None, changed=False, samples_otherwise=True).word == "ok"


@given(FIGURES, FIGURES, st.lists(st.text(min_size=1), max_size=3), st.booleans(), st.booleans())
def test_faults_win_and_nothing_is_ok_that_changes_nothing(response, drift, faults, changed, asks):
    found = verdict(response, drift, faults=faults, changed=changed, samples_otherwise=asks)
    assert (found.word == "broken") is bool(faults)
    assert found.faults == tuple(faults)
    if found.word == "ok":
        assert changed or asks
        assert drift is None or drift < TEXT_LOST
    assert Verdict.model_validate_json(found.model_dump_json()) == found


@given(st.floats(NO_RESPONSE, 5.0), st.floats(0.0, 5.0), st.floats(0.0, 5.0))
def test_more_drift_never_makes_an_edit_better(response, first, second):
    low, high = sorted([first, second])
    if verdict(response, high).word == "ok":
        assert verdict(response, low).word == "ok"


def test_figures_are_never_negative():
    with pytest.raises(ValidationError):
        Effects(retain_drift=-0.1)


def test_every_figure_of_a_board_is_an_effect_and_a_column():
    assert set(EFFECTS) == set(Effects.model_fields) - {"edit_response"}
    assert set(EFFECTS) <= set(get_args(Column))


def test_a_report_of_before_there_were_verdicts_has_none(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({"seconds": 1.0}))
    assert stored_verdict(tmp_path) is None
    (tmp_path / "report.json").write_text(json.dumps({"verdict": verdict().model_dump()}))
    assert stored_verdict(tmp_path) == verdict()
