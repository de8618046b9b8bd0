"""Settings of a method are compared by the harness itself, and one is chosen by a rule that is written down."""

from __future__ import annotations

import json
import tomllib

import pytest

from unlearnbench.board.cells import Cell
from unlearnbench.board.data import Failure, Identified
from unlearnbench.plugins import load_plugins
from unlearnbench.run.plan import check_params
from unlearnbench.spec import Origin
from unlearnbench.store import Store
from unlearnbench.testing.shift import Shift
from unlearnbench_suites.tune.__main__ import main
from unlearnbench_suites.tune.report import SHOWN, Report, Trial, choose, markdown, setting_name
from unlearnbench_suites.tune.settings import MOST, SETTINGS, read_tuning

TUNING = """
suite = "letters-quick"
tie = {tie}
seconds = 600.0

[settings]
shift = [{{}}, {{ amount = 0.0 }}, {{ amount = 9.5 }}]
"""
DIGEST = "ub1:" + "0123456789ab" * 6


def trial(mean=0.5, seconds=1.0, *, unscored=0, failures=(), params=None):
    cells = {name: Cell(value=mean, lo=0.0, hi=1.0, n_concepts=3, n_unscored=unscored) for name in SHOWN}
    params = {"lamb": mean} if params is None else params
    cells["edit_seconds"] = Cell(value=seconds)
    return Trial(name=setting_name(params), params=params, cells=cells, failures=failures)


# ---------------------------------------------------------------- the rule
@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([trial(0.5), trial(0.7), trial(0.6)], 1),
        ([trial(0.70, 30.0), trial(0.695, 2.0), trial(0.68, 1.0)], 1),  # the last is no tie
        ([trial(0.7, 5.0), trial(0.7, 5.0)], 0),
        ([trial(0.9, 61.0), trial(0.2, 60.0)], 1),
        ([trial(0.9, unscored=1), trial(0.2)], 1),
        ([trial(None), trial(0.0)], 1),
        ([trial(0.9, None), trial(0.2)], 1),
        ([trial(0.9, 61.0), trial(None)], None),
        ([], None),
    ],
)
def test_the_highest_harmonic_mean_is_chosen_and_of_ties_the_cheapest(trials, expected):
    assert choose(trials, tie=0.01, seconds=60.0) == expected


def test_a_setting_with_a_failed_edit_is_never_chosen():
    failure = Failure(status="failed", reason="the loss is nan", edits=1, concepts=("fox",))
    assert choose([trial(0.9, failures=(failure,)), trial(0.1)], tie=0.01, seconds=60.0) == 1


# ---------------------------------------------------------------- the settings
def test_every_method_gets_the_same_number_of_settings_and_its_defaults_first():
    tuning = read_tuning(SETTINGS)
    assert len({len(settings) for settings in tuning.settings.values()}) == 1
    plugins = load_plugins()
    for method, settings in tuning.settings.items():
        assert len(settings) <= MOST
        assert settings[0] == {}
        params = plugins.methods.get(method).load_params()
        checked = [check_params(params, setting, method) for setting in settings]
        assert len({one.model_dump_json() for one in checked}) == len(settings), method


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("suite = ", "no TOML"),
        ('suite = "a"\ntie = 2.0\nseconds = 1\nsettings = {a = [{}]}', "tie"),
        ('suite = "a"\ntie = 0.0\nseconds = 1\nsettings = {a = []}', "settings.a"),
        (f'suite = "a"\ntie = 0.0\nseconds = 1\nsettings = {{a = [{", ".join(["{}"] * 13)}]}}', "settings.a"),
        ('suite = "a"\ntie = 0.0\nsecond = 1\nsettings = {a = [{}]}', "did you mean 'seconds'"),
    ],
)
def test_a_wrong_file_of_settings_is_told_in_two_lines(tmp_path, capsys, text, what):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(SystemExit) as end:
        main(["a", "--settings", str(tmp_path / "s.toml")])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert what in error
    assert len(error.splitlines()) == 2


# ---------------------------------------------------------------- the run
@pytest.fixture
def tune(fake_plugins, temporary_store, tmp_path, capsys):
    """Return a function that tunes the method `shift` on the letters: (exit code, report, page, stderr)."""

    def tune(*arguments, tie=0.0, method="shift"):
        (tmp_path / "settings.toml").write_text(TUNING.format(tie=tie))
        with pytest.raises(SystemExit) as end:
            main([method, "--settings", str(tmp_path / "settings.toml"), "-o", str(tmp_path / "out"), *arguments])
        err = capsys.readouterr().err
        found = [tmp_path / "out" / f"shift.{form}" for form in ("json", "md")]
        data, page = (file.read_text() if file.exists() else None for file in found)
        return int(end.value.code or 0), data and Report.model_validate_json(data), page, err

    return tune


def test_settings_run_as_rows_of_one_plan_and_are_stored(tune, temporary_store):
    code, report, page, _ = tune("--device", "cpu")
    assert code == 0
    assert [t.params for t in report.trials] == [{}, {"amount": 0.0}, {"amount": 9.5}]
    assert [t.name for t in report.controls] == ["unedited", "prompt-swap"]
    still, unedited = report.trials[1], report.controls[0]
    assert still.cells["forget"].value == unedited.cells["forget"].value
    assert still.cells["retain"].value == unedited.cells["retain"].value
    assert all(t.cells["edit_seconds"].value is not None for t in report.trials)
    assert report.chosen == choose(report.trials, tie=report.tie, seconds=report.seconds)
    assert report.environment["device"] == "cpu"
    preset = tomllib.loads(page[page.index("[presets") : page.rindex("```")])["presets"]["shift"]
    assert preset == report.trials[report.chosen].params
    store = Store(temporary_store)
    assert list(store.verify()) == []

    made = sorted(p.stat().st_mtime_ns for p in temporary_store.glob("v1/*/*/*/manifest.json"))
    again = tune("--device", "cpu")
    assert again[:3] == (code, report, page)
    assert sorted(p.stat().st_mtime_ns for p in temporary_store.glob("v1/*/*/*/manifest.json")) == made


def test_what_would_be_made_is_told_and_not_made(tune, temporary_store):
    code, report, _, _ = tune("--dry-run")
    assert (code, report) == (0, None)
    assert not temporary_store.exists()


def test_a_failed_edit_is_reported_and_another_setting_chosen(tune, monkeypatch):
    edit = Shift.edit

    def fail(self, model, request, ctx):
        if self.params.amount == 1.0 and request.forget[0].id == "beta":
            raise FloatingPointError("the loss is nan")
        edit(self, model, request, ctx)

    monkeypatch.setattr(Shift, "edit", fail)
    code, report, page, _ = tune("--device", "cpu", tie=1.0)
    assert code == 0
    assert [f.concepts for f in report.trials[0].failures] == [("beta",)]
    assert report.chosen in (1, 2)
    assert "- defaults: beta: FloatingPointError: the loss is nan" in page


def test_without_a_setting_to_choose_the_exit_code_tells(tune, monkeypatch):
    def fail(self, model, request, ctx):
        raise FloatingPointError("the loss is nan")

    monkeypatch.setattr(Shift, "edit", fail)
    code, report, page, err = tune("--device", "cpu")
    assert code == 1
    assert report.chosen is None
    assert "No setting can be chosen." in page
    assert "no setting of shift can be chosen" in err


def test_a_method_without_settings_is_told(tune):
    code, report, _, err = tune(method="shifd")
    assert (code, report) == (2, None)
    assert "did you mean 'shift'" in err


def test_the_page_is_this(snapshot):
    failure = Failure(status="failed", reason="the loss of iteration 3 is nan", edits=1, concepts=("fox",))
    trials = (
        trial(0.5, 3.21, params={}),
        trial(0.75, 27.0, params={"lamb": 0.5, "pairs": "names", "layers": [1, 2], "spread": True}),
        trial(0.9, 300.0),
        trial(None, None, params={"lamb": 2}, failures=(failure,)),
    )
    report = Report(
        method="memit",
        origin=Origin(distribution="unlearnbench-memit", version="1.0", source=DIGEST),
        suite="emoji-dev",
        version=1,
        forget=("fox", "running"),
        evaluate=("fox", "running", "beach"),
        protocol=DIGEST,
        model=Identified(id="emoji-sd", fingerprint=DIGEST),
        judge=Identified(id="clip", fingerprint=DIGEST),
        environment={"device": "cpu", "threads": 2},
        tie=0.01,
        seconds=60.0,
        trials=trials,
        controls=(trial(0.2, None, params={}).model_copy(update={"name": "unedited"}),),
        chosen=choose(trials, tie=0.01, seconds=60.0),
    )
    assert markdown(report) == snapshot
    assert Report.model_validate(json.loads(report.model_dump_json())) == report
