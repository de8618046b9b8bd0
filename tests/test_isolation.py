"""A stranger's package may break in any way: nothing else is affected, and its author is told what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from unlearnbench.errors import UserError
from unlearnbench.plugins import load_plugins

HOOK = "from unlearnbench.api import MethodSpec, hookimpl\n"
GOOD = (
    HOOK
    + """
@hookimpl
def unlearnbench_methods():
    return [MethodSpec("{name}", "acme_code:{name}", "acme_params:P", "a method", "a paper")]
"""
)
HUGE = 3_000_000

# What breaks: code, what the author reads as reason, and as advice.
BROKEN = {
    "import of a package": ("import numpi", "No module named 'numpi'", "pip install what provides 'numpi'"),
    "import of a name": (
        "from unlearnbench.api import Methodspec",
        "cannot import name 'Methodspec'",
        "acme_broken.py, line 1; `unlearnbench plugins --failed --json` shows the traceback",
    ),
    "syntax": ("\n\ndef unlearnbench_methods(:", "SyntaxError", "acme_broken.py, line 3"),
    "exit": ("raise SystemExit(3)", "SystemExit", "take the exit out of"),
    "hook": (
        HOOK + "@hookimpl\ndef unlearnbench_methods():\n    raise ValueError('no')",
        "ValueError: no",
        "acme_broken.py, line 4",
    ),
    "misspelt hook": (
        HOOK + "@hookimpl\ndef unlearnbench_metods():\n    return []",
        "unknown hook 'unlearnbench_metods'",
        "did you mean unlearnbench_methods?",
    ),
    "hook without its mark": (
        HOOK + "def unlearnbench_methods():\n    return []",
        "is not marked as a hook",
        "put @hookimpl above it",
    ),
    "hook with an argument": (
        HOOK + "@hookimpl\ndef unlearnbench_methods(registry):\n    return []",
        "takes no argument, and this one has registry",
        "take it away",
    ),
    "no list": (
        HOOK + "@hookimpl\ndef unlearnbench_methods():\n    return 'uce'",
        "must return a list, not str",
        "acme_broken.py, line 2",
    ),
    "no spec": (
        HOOK + "@hookimpl\ndef unlearnbench_methods():\n    return ['uce']",
        "must list MethodSpec, not str",
        "[MethodSpec(name=..., ...)]",
    ),
    "unknown field": (
        HOOK + "@hookimpl\ndef unlearnbench_methods():\n    return [MethodSpec(name='x', needs=())]",
        "unexpected keyword argument 'needs'",
        "acme_broken.py, line 4",
    ),
    "name": (GOOD.format(name="Two Words"), "is no name", "[MethodSpec(name=..., ...)]"),
    "twice": (GOOD.format(name="x").replace("return [", "return 2 * ["), "lists the method 'x' twice", "correct"),
    "huge summary": (
        GOOD.format(name="x").replace('"a method"', f'"a" * {HUGE}'),
        "the summary of 'x' must be one line of at most 200 characters, not 3,000,000",
        "correct",
    ),
    "huge message": (f"raise ValueError('a' * {HUGE})", "ValueError: aaa", "acme_broken.py, line 1"),
}


def broken(plugins):
    (record,) = [r for r in plugins.failed() if r.distribution.startswith("acme")]
    return record


@pytest.mark.parametrize("kind", BROKEN)
def test_a_plugin_that_cannot_be_loaded_tells_its_author_what_to_do(install, kind):
    code, reason, advice = BROKEN[kind]
    file = install("acme-broken", code)
    install("acme-good", GOOD.format(name="good"))
    plugins = load_plugins()
    record = broken(plugins)
    assert (record.distribution, record.version, record.file) == ("acme-broken", "1.0", str(file))
    assert reason in record.reason
    assert advice in record.hint
    for text in (record.reason, record.hint):
        assert len(text.splitlines()) == 1
        assert len(text) < 600
    assert "Traceback" in record.details
    assert plugins.methods.get("good").plugin.status == "ok"
    with pytest.raises(UserError, match="unknown method 'x'"):
        plugins.methods.get("x")


@pytest.mark.parametrize("needed", ["unlearnbench>=7", "unlearnbench <0.0.1", "UnlearnBench==99.*"])
def test_a_plugin_for_another_api_is_not_even_imported(install, needed):
    file = install("acme-broken", "raise SystemExit('imported')")
    metadata = file.parent / "acme_broken-1.0.dist-info" / "METADATA"
    metadata.write_text(f"{metadata.read_text()}Requires-Dist: {needed}\nRequires-Dist: numpy>=1\n")
    record = broken(load_plugins())
    assert re.fullmatch(r"needs unlearnbench\S+, and \S+ is installed", record.reason)
    assert record.hint.startswith("pip install 'unlearnbench")


@pytest.mark.parametrize(
    "needed", ["unlearnbench>=0.0.1,<100", 'unlearnbench>=7; extra == "test"', "unlearnbench-x>=7"]
)
def test_other_requirements_do_not_matter(install, needed):
    file = install("acme-good", GOOD.format(name="good"))
    metadata = file.parent / "acme_good-1.0.dist-info" / "METADATA"
    metadata.write_text(f"{metadata.read_text()}Requires-Dist: {needed}\n")
    assert load_plugins().methods.get("good").plugin.status == "ok"


def test_a_plugin_that_prints_while_it_is_loaded_disturbs_no_output(install, call):
    printing = f"import sys\nprint('a' * {HUGE})\nsys.stderr.write('b')\n"
    install("acme-loud", printing + GOOD.format(name="loud").replace("return", "print('c'); return"))
    code, out, _ = call("plugins", "--json")
    (record,) = [r for r in json.loads(out) if r["distribution"] == "acme-loud"]
    assert record["status"] == "ok"
    assert "printed 3,000,004 characters" in record["reason"]
    assert "print nothing" in record["hint"]
    assert len(record["details"]) < 5000
    code, out, err = call("list", "methods", "--json")
    assert (code, err) == (0, "")
    assert "loud" in {row["name"] for row in json.loads(out)}


def test_a_clash_tells_both_authors(install, call):
    one = install("acme-one", GOOD.format(name="same"))
    two = install("acme-two", GOOD.format(name="same"))
    code, out, _ = call("plugins", "--failed", "--json")
    assert code == 1
    records = {r["distribution"]: r for r in json.loads(out) if r["distribution"].startswith("acme")}
    assert {name: r["file"] for name, r in records.items()} == {"acme-one": str(one), "acme-two": str(two)}
    assert records["acme-one"]["reason"] == "method 'same' is claimed by acme-two too"
    assert "acme-one/same" in records["acme-one"]["hint"]
    assert "UNLEARNBENCH_DISABLE_PLUGINS to acme-two" in records["acme-one"]["hint"]


def test_plugins_and_list_show_where_everything_comes_from(install, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    bad = install("acme-broken", "import numpi", version="2.5")
    good = install("acme-good", GOOD.format(name="good"), version="0.3")
    code, out, err = call("plugins")
    text = " ".join(out.split())
    assert (code, err) == (0, "")
    assert f"acme_good acme-good 0.3 ok method good {good}" in text
    assert f"acme_broken acme-broken 2.5 failed ModuleNotFoundError: No module named 'numpi' {broken_hint()}" in text
    assert str(bad) in text
    code, out, err = call("list", "methods")
    assert f"good acme-good 0.3 a method {good}" in " ".join(out.split())
    assert err.splitlines() == [
        f"acme-broken 2.5 ({bad}): ModuleNotFoundError: No module named 'numpi'",
        "Type `unlearnbench plugins --failed` for what can be done.",
    ]
    monkeypatch.setenv("UNLEARNBENCH_DISABLE_PLUGINS", "acme-broken")
    code, out, err = call("list", "methods")
    assert (code, err) == (0, "")
    code, out, err = call("plugins")
    assert "acme-broken 2.5 disabled named in UNLEARNBENCH_DISABLE_PLUGINS" in " ".join(out.split())
    assert call("plugins", "--failed")[0] == 0


def broken_hint():
    return broken(load_plugins()).hint


# ---------------------------------------------------------------- what breaks when it is used
def test_a_broken_data_set_or_model_hides_no_other(install, fake, call):
    install(
        "acme-bad",
        """
from unlearnbench.api import DatasetSpec, ModelSource, hookimpl

@hookimpl
def unlearnbench_datasets():
    return [DatasetSpec("bad", "acme_bad:no_concepts", "a data set", "1", "CC0-1.0")]

@hookimpl
def unlearnbench_models():
    return [ModelSource("bad-model", "acme_bad:nowhere", "a model", "CC0-1.0")]

def no_concepts():
    raise OSError("the file of concepts is gone")
""",
    )
    code, out, err = call("list", "concepts", "--json")
    assert code == 0
    assert "alpha" in {row["name"] for row in json.loads(out)}
    assert "data set 'bad' of acme-bad cannot be read: the file of concepts is gone" in err
    assert call("show", "alpha")[0] == 0
    code, out, err = call("list", "concepts", "--dataset", "bad")
    assert (code, out, len(err.splitlines())) == (2, "", 2)
    assert "its author corrects acme_bad:no_concepts" in err
    assert call("run", "letters-quick", "-m", "shift", "--dry-run")[0] == 0
    code, out, err = call("run", "letters-quick", "-m", "shift", "--dry-run", "--model", "bad-model")
    assert (code, out, len(err.splitlines())) == (3, "", 2)
    assert "'bad-model' of acme-bad 1.0" in err
    assert "acme_bad:nowhere" in err


def stored(folder):
    """Return the score tables of the default store by row."""
    return {p.stem.partition("@")[0]: pd.read_parquet(p) for p in folder.glob("default-store/v1/results/*/*.parquet")}


METHODS = (
    HOOK
    + """
@hookimpl
def unlearnbench_methods():
    return [
        MethodSpec(name, f"acme_methods:{cls}", "fake_params:ShiftParams", "a method", "a paper")
        for name, cls in (
            ("quiet", "Quiet"), ("raising", "Raising"), ("absent", "Absent"), ("loud", "Loud"), ("leaving", "Leaving"),
        )
    ]
"""
)
METHODS_CODE = f"""
import sys
from fake_method import Shift

class Quiet(Shift):
    pass

class Raising(Shift):
    def edit(self, model, request, ctx):
        raise RuntimeError("a" * {HUGE})

class Leaving(Shift):
    def edit(self, model, request, ctx):
        sys.exit(0)

class Loud(Shift):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        print("a" * {HUGE})
        ctx.report(everything="c" * {HUGE})
"""


def test_methods_that_break_leave_the_others_and_the_output_alone(install, fake, call, tmp_path):
    install("acme-bad", METHODS)
    (tmp_path / "site" / "acme_methods.py").write_text(METHODS_CODE)
    words = [w for name in ("quiet", "raising", "absent", "loud", "leaving") for w in ("-m", name)]
    code, out, err = call("run", "letters-quick", "-c", "alpha", *words, "--device", "cpu", "-f", "csv")
    assert code == 1
    assert len(out) + len(err) < 50_000
    assert {"quiet", "loud", "raising", "absent", "leaving"} < {line.partition(",")[0] for line in out.splitlines()}
    tables = stored(tmp_path)
    for name in ("unedited", "prompt-swap", "quiet", "loud"):
        assert tables[name].label.notna().all(), name
    for name in ("raising", "absent", "leaving"):
        assert set(tables[name].status) == {"failed"}, name
    assert list(tables["loud"].p_yes) == list(tables["quiet"].p_yes)
    failures = dict(re.findall(r"^failed: edit (\w+) alpha: (.*); its traceback: ", err, re.MULTILINE))
    assert failures["raising"].startswith("RuntimeError: aaa")
    assert "'absent' of acme-bad 1.0" in failures["absent"]
    assert "its author corrects acme_methods or the target 'acme_methods:Absent'" in failures["absent"]
    assert failures["leaving"] == "SystemExit: 0"
    for file in re.findall(r"its traceback: (\S+)$", err, re.MULTILINE):
        assert "Traceback" in json.loads(Path(file).read_text())["details"]
    assert "edit loud alpha printed 3,000,001 characters: aaa" in err


JUDGES = (
    "from unlearnbench.api import EvaluatorSpec, hookimpl\n"
    + """
@hookimpl
def unlearnbench_evaluators():
    return [
        EvaluatorSpec(name, f"acme_judges:{cls}", "fake_params:BrightnessParams", "a judge")
        for name, cls in (("raising", "Raising"), ("unready", "Unready"), ("nameless", "Nameless"))
    ]
"""
)
JUDGES_CODE = f"""
from fake_judge import Brightness

class Raising(Brightness):
    def score(self, samples, question):
        print("a" * {HUGE})
        if question.concept == "beta":
            raise RuntimeError("b" * {HUGE})
        return [s.model_copy(update=dict(answer="c" * 10_000)) for s in super().score(samples, question)]

class Unready(Brightness):
    def setup(self, ctx):
        raise OSError("no weights")

class Nameless(Brightness):
    def fingerprint(self):
        raise KeyError("weights")
"""


def test_a_judge_that_breaks_leaves_the_other_scores_and_the_output_alone(install, fake, call, tmp_path):
    install("acme-bad", JUDGES)
    (tmp_path / "site" / "acme_judges.py").write_text(JUDGES_CODE)
    run = ("run", "letters-quick", "-c", "alpha", "--device", "cpu", "-f", "csv", "--evaluator")
    code, out, err = call(*run, "raising")
    assert code == 1
    assert len(out) + len(err) < 50_000
    table = stored(tmp_path)["unedited"]
    assert set(table[table.label.isna()].concept) == {"beta"}
    assert len(table[table.label.notna()]) > 0
    assert "failed: score beta: RuntimeError: bbb" in err
    assert "score alpha printed 3,000,001 characters: aaa" in err
    code, out, err = call(*run, "unready")
    assert (code, out) == (3, "")
    assert err.splitlines()[-2].endswith("the judge 'unready' of acme-bad 1.0 cannot be set up: OSError: no weights")
    assert "mend its setup" in err.splitlines()[-1]
    code, out, err = call(*run, "nameless")
    assert (code, out) == (3, "")
    assert "the judge 'nameless' of acme-bad 1.0 does not tell its fingerprint: KeyError: 'weights'" in err
    assert "unlearnbench check nameless" in err.splitlines()[-1]
