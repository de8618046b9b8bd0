"""Discovery: one bad plugin is reported and breaks nothing else."""

from __future__ import annotations

import sys

import pytest

from unlearnbench import plugins
from unlearnbench.errors import UserError
from unlearnbench.plugins import BrokenPlugin, load_plugins

GOOD = """
from unlearnbench.api import MethodSpec, hookimpl

@hookimpl
def unlearnbench_methods():
    return [MethodSpec("{name}", "{target}", "nowhere:Params", "a method", "a paper")]
"""
BROKEN = {
    "import": ("import does_not_exist", "No module named 'does_not_exist'"),
    "exit": ("raise SystemExit(3)", "SystemExit"),
    "hook": (
        "from unlearnbench.api import hookimpl\n@hookimpl\ndef unlearnbench_methods():\n    raise ValueError('no')",
        "ValueError: no",
    ),
    "misspelt": (
        "from unlearnbench.api import hookimpl\n@hookimpl\ndef unlearnbench_method():\n    return []",
        "unlearnbench_method",
    ),
    "argument": (
        "from unlearnbench.api import hookimpl\n@hookimpl\ndef unlearnbench_methods(registry):\n    return []",
        "registry",
    ),
    "no-list": (
        "from unlearnbench.api import hookimpl\n@hookimpl\ndef unlearnbench_methods():\n    return 'uce'",
        "must return a list, not str",
    ),
    "no-spec": (
        "from unlearnbench.api import hookimpl\n@hookimpl\ndef unlearnbench_methods():\n    return ['uce']",
        "must list MethodSpec, not str",
    ),
    "name": (GOOD.format(name="Two Words", target="x:Y"), "is no name"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_reported_and_breaks_nothing_else(install, kind):
    code, reason = BROKEN[kind]
    install("acme-broken", code)
    install("acme-good", GOOD.format(name="good", target="nowhere:Good"))
    plugins = load_plugins()
    (failed,) = [r for r in plugins.failed() if r.distribution.startswith("acme")]
    assert failed.distribution == "acme-broken"
    assert failed.version == "1.0"
    assert reason in failed.reason
    assert "Traceback" in failed.details
    assert plugins.methods.get("good").plugin.distribution == "acme-good"


def test_targets_are_imported_only_when_they_are_used(install):
    install("acme-lazy", GOOD.format(name="lazy", target="acme_heavy:Heavy"))
    entry = load_plugins().methods.get("lazy")
    assert "acme_heavy" not in sys.modules
    with pytest.raises(BrokenPlugin, match="acme_heavy"):
        entry.load()


@pytest.mark.parametrize("target", ["no_colon", "sys:does_not_exist"])
def test_a_wrong_target_is_a_missing_prerequisite(install, target):
    install("acme-lazy", GOOD.format(name="lazy", target=target))
    with pytest.raises(BrokenPlugin, match=r"'lazy' of acme-lazy 1.0 .* cannot be imported"):
        load_plugins().methods.get("lazy").load()


def test_a_name_clash_names_both_and_each_stays_reachable(install):
    install("acme-one", GOOD.format(name="same", target="one:M"))
    install("acme-two", GOOD.format(name="same", target="two:M"))
    plugins = load_plugins()
    clashing = [r for r in plugins.failed() if r.distribution.startswith("acme")]
    assert [(r.distribution, "acme-two" in r.reason, "acme-one" in r.reason) for r in clashing] == [
        ("acme-one", True, False),
        ("acme-two", False, True),
    ]
    with pytest.raises(UserError, match="claimed by acme-one and acme-two") as error:
        plugins.methods.get("same")
    assert "acme-one/same" in error.value.hint
    assert plugins.methods.get("acme-two/same").spec.target == "two:M"


def test_plugins_can_be_disabled_by_entry_point_or_distribution(install):
    install("acme-one", GOOD.format(name="one", target="one:M"), entry="first")
    install("acme-two", GOOD.format(name="two", target="two:M"))
    plugins = load_plugins(environ={"UNLEARNBENCH_DISABLE_PLUGINS": "first, acme-two"})
    assert {r.distribution: r.status for r in plugins.records if r.distribution.startswith("acme")} == {
        "acme-one": "disabled",
        "acme-two": "disabled",
    }
    with pytest.raises(UserError, match="unknown method 'one'"):
        plugins.methods.get("one")


@pytest.mark.parametrize(("typed", "meant"), [("alphaedti", "alphaedit"), ("UCE", "uce"), ("acme-good/uce", None)])
def test_an_unknown_name_suggests_the_nearest(install, typed, meant):
    install("acme-good", GOOD.format(name="good", target="x:Y"))
    with pytest.raises(UserError, match="unknown method") as error:
        load_plugins().methods.get(typed)
    assert "unlearnbench list methods" in error.value.hint
    if meant:
        assert f"did you mean '{meant}'?" in error.value.hint


def test_an_edited_plugin_has_another_origin(install):
    file = install("acme-good", GOOD.format(name="good", target="x:Y"))
    before = load_plugins().methods.get("good").origin()
    file.write_text(file.read_text() + "\n# changed\n")
    after = load_plugins().methods.get("good").origin()
    assert before.source != after.source
    assert (before.distribution, before.version) == ("acme-good", "1.0")


def test_the_code_that_methods_share_enters_the_origin_of_methods_alone(tmp_path, monkeypatch):
    registries = load_plugins()
    method, judge = registries.methods.get("uce"), registries.evaluators.get("clip")
    before = method.origin().source, judge.origin().source
    (tmp_path / "layers.py").write_text("# other code\n")
    monkeypatch.setattr(plugins, "EDITING", tmp_path)
    assert method.origin().source != before[0]
    assert judge.origin().source == before[1]


def test_our_own_plugins_load():
    plugins = load_plugins()
    assert not plugins.failed()
    assert {"alphaedit", "uce"} <= {e.spec.name for e in plugins.methods}
    assert {"emoji-quick", "emoji20"} <= {e.spec.name for e in plugins.suites}
