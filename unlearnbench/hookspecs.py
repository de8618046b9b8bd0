"""The hooks of unlearnbench. Each returns a list of light specs: data, never a callback or a heavy object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from unlearnbench.api import DatasetSpec, EvaluatorSpec, MethodSpec, ModelSource, SuiteSource

hookspec = pluggy.HookspecMarker("unlearnbench")


@hookspec
def unlearnbench_methods() -> list[MethodSpec]:
    """Return the methods of this distribution; called once, when plugins are loaded."""
    return []


@hookspec
def unlearnbench_evaluators() -> list[EvaluatorSpec]:
    """Return the evaluators of this distribution; called once, when plugins are loaded."""
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
