"""A distribution for tests: everything a plugin can register, light as a plugin's own module must be."""

import os
from pathlib import Path

from unlearnbench.api import DatasetSpec, EvaluatorSpec, MethodSpec, ModelSource, SuiteSource, hookimpl


@hookimpl
def unlearnbench_methods():
    return [
        MethodSpec(
            name,
            f"fake_method:{cls}",
            "fake_params:ShiftParams",
            f"{cls} for tests",
            "no paper",
            control=name == "still",
        )
        for name, cls in (
            ("shift", "Shift"),
            ("broken", "Broken"),
            ("picky", "Picky"),
            ("other", "Shift"),
            ("nan", "NotANumber"),
            ("idle", "Idle"),
            ("still", "Idle"),
        )
    ]


@hookimpl
def unlearnbench_evaluators():
    return [EvaluatorSpec("brightness", "fake_judge:Brightness", "fake_params:BrightnessParams", "looks at pixels")]


@hookimpl
def unlearnbench_datasets():
    return [DatasetSpec("letters", "fake_dataset:Letters", "four concepts", "1", "CC0-1.0")]


@hookimpl
def unlearnbench_models():
    return [ModelSource("tiny", "unlearnbench_fake:folder", "random weights", "CC0-1.0")]


@hookimpl
def unlearnbench_suites():
    return [SuiteSource("letters-quick", Path(os.environ["FAKE_SUITE"]), "two concepts")]


def folder():
    return Path(os.environ["FAKE_MODEL"])
