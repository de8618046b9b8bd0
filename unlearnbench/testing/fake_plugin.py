"""A plugin of fakes: with it, and a method of your own, `unlearnbench run letters-quick` makes a board in seconds."""

from __future__ import annotations

import os
from pathlib import Path

from unlearnbench.api import DatasetSpec, EvaluatorSpec, MethodSpec, ModelSource, SuiteSource, hookimpl

MODEL_FOLDER = "UNLEARNBENCH_FAKE_MODEL"


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    """Register the method `shift`."""
    return [
        MethodSpec(
            name="shift",
            target="unlearnbench.testing.shift:Shift",
            params="unlearnbench.testing.fakes:ShiftParams",
            summary="adds noise to the keys (a fake)",
            paper="no paper",
            edits=("unet.*.attn2.to_k.weight",),
        )
    ]


@hookimpl
def unlearnbench_evaluators() -> list[EvaluatorSpec]:
    """Register the evaluator `brightness`."""
    return [
        EvaluatorSpec(
            name="brightness",
            target="unlearnbench.testing.fakes:Brightness",
            params="unlearnbench.testing.fakes:BrightnessParams",
            summary="says yes to bright images (a fake)",
        )
    ]


@hookimpl
def unlearnbench_datasets() -> list[DatasetSpec]:
    """Register the data set `letters`."""
    return [
        DatasetSpec(
            name="letters",
            target="unlearnbench.testing.fakes:Letters",
            summary="four Greek letters (a fake)",
            version="1",
            licence="Apache-2.0",
            warning="none",
            digest="ub1:7bba8e745771209a28a9051a619ec03273f3e668402b6167bf79a63f283844a1",
        )
    ]


@hookimpl
def unlearnbench_models() -> list[ModelSource]:
    """Register the model `tiny`."""
    return [
        ModelSource("tiny", "unlearnbench.testing.fake_plugin:model_folder", "random weights (a fake)", "Apache-2.0")
    ]


@hookimpl
def unlearnbench_suites() -> list[SuiteSource]:
    """Register the suite `letters-quick`."""
    path = Path(__file__).with_name("letters-quick.toml")
    return [SuiteSource("letters-quick", path, "two letters, on random weights (a fake)")]


def model_folder() -> Path:
    """Return the folder that the fixture `fake_plugins` made."""
    return Path(os.environ[MODEL_FOLDER])
