"""Subjects made of the broken plugins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from unlearnbench.api import DatasetSpec, EvaluatorSpec, MethodSpec
from unlearnbench.checks import Subject
from unlearnbench.plugins import Entry, PluginRecord

BROKEN = Path(__file__).parent / "broken"
RECORD = PluginRecord("acme", "acme-plugins", "1.0", "unlearnbench.testing.fake_plugin", None, "ok")
MODULES = [path.stem for path in BROKEN.glob("*.py")]


@pytest.fixture
def on_path(monkeypatch):
    """Make the modules of the broken plugins importable."""
    monkeypatch.syspath_prepend(str(BROKEN))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def subject(on_path, tmp_path):
    """Return a function that makes a subject from a spec."""

    def subject(kind, spec, **given):
        return Subject(kind, Entry(spec, RECORD), given, tmp_path, (str(BROKEN),))

    return subject


@pytest.fixture
def method(subject):
    """Return a function that makes the subject of a class in `broken_methods`."""

    def method(cls, params="unlearnbench.testing.fakes:ShiftParams", **changes):
        edits = ("unet.*.attn2.to_k.weight",)
        target = cls if ":" in cls else f"broken_methods:{cls}"
        fields = {"name": "nudge", "summary": "a method for tests", "paper": "none", "edits": edits, **changes}
        return subject("method", MethodSpec(target=target, params=params, **fields))

    return method


@pytest.fixture
def evaluator(subject):
    """Return a function that makes the subject of a class in `broken_judges`."""

    def evaluator(cls, **changes):
        fields = {"name": "glance", "summary": "a judge for tests", **changes}
        params = "unlearnbench.testing.fakes:BrightnessParams"
        return subject("evaluator", EvaluatorSpec(target=f"broken_judges:{cls}", params=params, **fields))

    return evaluator


@pytest.fixture
def dataset(subject):
    """Return a function that makes the subject of a class in `broken_data`, its digest pinned unless it is given."""

    def dataset(cls, **changes):
        from unlearnbench.checks.dataset import content_digest

        target = cls if ":" in cls else f"broken_data:{cls}"
        fields = {"name": "signs", "summary": "a data set for tests", "version": "1", "licence": "CC0-1.0"}
        made = subject("dataset", DatasetSpec(target=target, warning="none", digest="?", **fields))
        found = made.make()
        pinned = content_digest(found) if hasattr(found, "concepts") else ""
        return subject("dataset", DatasetSpec(**{**vars(made.spec), "digest": pinned, **changes}))

    return dataset
