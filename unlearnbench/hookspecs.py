"""The hooks of unlearnbench. Each returns a list of light specs: data, never a callback or a heavy object.

Authors of plugins import the specs from `unlearnbench.api`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

hookspec = pluggy.HookspecMarker("unlearnbench")


# ---------------------------------------------------------------- specs
@dataclass(frozen=True)
class MethodSpec:
    """A method plugin.

    Attributes:
        name: what `--method` takes: lower-case letters, digits, '.', '_' and '-'.
        target: "package.module:Class" of the `Method`; imported only when the method runs.
        params: "package.module:Class" of its `Params`, in a module that imports nothing heavy.
        summary: one line for `list`, of at most 200 characters.
        paper: where the method comes from; may be empty for a control.
        edits: patterns of the tensors that it changes; `unlearnbench check` holds it to them.
        quick: parameters, such as few steps, with which a small random model is edited in seconds; `unlearnbench check`
            uses them where the caller gives no others.
        control: it is no competitor but something to compare with: its row stands on boards without a rank, and a
            verdict on its edits, whatever it is, fails no run.
    """

    name: str
    target: str
    params: str
    summary: str
    paper: str
    edits: tuple[str, ...] = ()
    quick: Mapping[str, Any] = field(default_factory=dict, hash=False)
    control: bool = False


@dataclass(frozen=True)
class EvaluatorSpec:
    """An evaluator or a set evaluator.

    Attributes:
        name: what `--evaluator` or `--set-evaluator` takes: lower-case letters, digits, '.', '_' and '-'.
        target: "package.module:Class" of the `Evaluator` or `SetEvaluator`; imported while planning, for its
            fingerprint.
        params: "package.module:Class" of its `Params`, in a module that imports nothing heavy.
        summary: one line for `list`, of at most 200 characters.
        paper: where the judge comes from; may be empty.
    """

    name: str
    target: str
    params: str
    summary: str
    paper: str = ""


@dataclass(frozen=True)
class DatasetSpec:
    """A data set plugin.

    Attributes:
        name: what `dataset` of a suite takes: lower-case letters, digits, '.', '_' and '-'.
        target: "package.module:name" of a callable without arguments that returns a `ConceptDataset`.
        summary: one line for `list`, of at most 200 characters.
        version: version of the data set, for people: the prompts themselves enter keys.
        licence: of the data.
        warning: what may disturb in prompts or pictures, or 'none'.
        digest: digest of the content of this version; `unlearnbench check` tells what it is.
        citation: what to cite for the data, or for the protocol that it follows; may be empty.
    """

    name: str
    target: str
    summary: str
    version: str
    licence: str
    warning: str = ""
    digest: str = ""
    citation: str = ""


@dataclass(frozen=True)
class ModelSource:
    """A model that a distribution ships.

    Attributes:
        name: what `--model` takes: lower-case letters, digits, '.', '_' and '-'.
        target: "package.module:name" of a callable without arguments that returns the folder.
        summary: one line for `list`, of at most 200 characters.
        licence: of the weights.
    """

    name: str
    target: str
    summary: str
    licence: str


@dataclass(frozen=True)
class SuiteSource:
    """A suite file (TOML) that a distribution ships.

    Attributes:
        name: what `run` takes; the `name` in the file should be the same.
        path: the file; docs/reference/suite-file.md has its fields.
        summary: one line for `list`, of at most 200 characters.
    """

    name: str
    path: Path
    summary: str


# ---------------------------------------------------------------- hooks


@hookspec
def unlearnbench_methods() -> list[MethodSpec]:
    """Return the methods of this distribution; called once, when plugins are loaded."""
    return []


@hookspec
def unlearnbench_evaluators() -> list[EvaluatorSpec]:
    """Return the evaluators of this distribution; called once, when plugins are loaded."""
    return []


@hookspec
def unlearnbench_set_evaluators() -> list[EvaluatorSpec]:
    """Return the set evaluators of this distribution; their targets are `SetEvaluator` classes."""
    return []


@hookspec
def unlearnbench_datasets() -> list[DatasetSpec]:
    """Return the concept data sets of this distribution; called once, when plugins are loaded."""
    return []


@hookspec
def unlearnbench_models() -> list[ModelSource]:
    """Return the models and judges that this distribution ships; called once, when plugins are loaded."""
    return []


@hookspec
def unlearnbench_suites() -> list[SuiteSource]:
    """Return the suite files of this distribution; called once, when plugins are loaded."""
    return []
