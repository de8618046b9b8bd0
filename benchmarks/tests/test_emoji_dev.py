"""Settings are chosen under the conditions of a board, on concepts that no board evaluates."""

from __future__ import annotations

import pytest

from unlearnbench.plugins import load_plugins
from unlearnbench.suites import load_suite


@pytest.fixture(scope="module")
def suites():
    plugins = load_plugins()
    return {name: load_suite(plugins, name) for name in ("emoji-dev", "emoji-quick", "emoji20")}


def test_boards_evaluate_no_development_concept(suites):
    development = set(suites["emoji-dev"].evaluate)
    assert not development & {*suites["emoji-quick"].evaluate, *suites["emoji20"].evaluate}
    plugins = load_plugins()
    known = {name: plugins.datasets.get(suites[name].dataset).load()().concepts for name in suites}
    assert development == set(known["emoji-dev"]) - set(known["emoji20"])
    assert set(known["emoji-dev"]) - development == set(known["emoji-quick"])


def test_settings_are_chosen_with_the_model_sampler_and_judge_of_the_boards(suites):
    for field in ("model", "sampler", "evaluator"):
        assert all(getattr(suite, field) == getattr(suites["emoji-dev"], field) for suite in suites.values())
    assert suites["emoji-dev"].columns == suites["emoji-quick"].columns


def test_no_setting_is_preset_where_settings_are_compared(suites):
    assert suites["emoji-dev"].presets == {}
