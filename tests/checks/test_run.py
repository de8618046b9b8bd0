"""How checks are run and reported, whatever they check."""

from __future__ import annotations

import json

import pytest

from unlearnbench.checks import Check, Failed, Skipped, run_check, run_checks
from unlearnbench.checks.outcome import Report, Result
from unlearnbench.checks.report import to_json, to_markdown
from unlearnbench.errors import UserError
from unlearnbench.testing import parametrize_with_checks


def check_good(subject):
    """Is it good?"""


def check_bad(subject):
    """Is it bad?"""
    raise Failed("it is\nnot what it should be")


def check_odd(subject):
    """Does it raise?"""
    raise ZeroDivisionError("by nought\nand more")


def check_absent(subject):
    """Is it there?"""
    raise Skipped("there is none")


ALL = (Check(check_good), Check(check_bad), Check(check_odd), Check(check_absent))


@pytest.fixture
def letters(dataset):
    return dataset("unlearnbench.testing.fakes:Letters")


def statuses(report):
    return {result.name: result.status for result in report.results}


def test_every_check_gets_a_result_with_its_reason(letters):
    seen = []
    report = run_checks(ALL, letters, on_result=seen.append)
    assert list(report.results) == seen
    assert statuses(report) == {
        "check_good": "passed", "check_bad": "failed", "check_odd": "failed", "check_absent": "skipped",
    }  # fmt: skip
    bad, odd, absent = report.results[1:]
    assert bad.reason == "it is not what it should be"
    assert bad.details == ""
    assert odd.reason == "raised ZeroDivisionError: by nought"
    assert "Traceback" in odd.details
    assert absent.reason == "there is none"
    assert all(result.seconds >= 0 for result in report.results)
    assert report.counts() == {"failed": 2, "passed": 1, "skipped": 1}
    assert (report.name, report.distribution, report.ok) == ("signs", "acme-plugins", False)


def test_expected_failures_are_strict(letters):
    report = run_checks(ALL[:2], letters, {"check_bad": "known", "check_good": "thought so"})
    assert statuses(report) == {"check_bad": "xfail", "check_good": "xpass"}
    assert "known" in report.results[1].reason
    assert not report.ok
    assert run_checks(ALL[:2], letters, {"check_bad": "known"}).ok


def test_an_expected_failure_of_an_unknown_check_is_a_mistake(letters):
    with pytest.raises(UserError, match="did you mean 'check_bad'"):
        run_checks(ALL, letters, {"check_bat": "a typing error"})


def test_all_skipped_is_a_failure(letters):
    assert not run_checks([Check(check_absent)], letters).ok
    assert run_checks([Check(check_absent), Check(check_good)], letters).ok


@pytest.mark.parametrize(
    ("needed", "status", "reason"),
    [
        (check_good, "passed", ""),
        (check_bad, "skipped", "check_bad fails"),
        (check_odd, "skipped", "check_odd fails"),
        (check_absent, "skipped", "there is none"),
    ],
)
def test_a_check_is_skipped_when_one_that_it_needs_fails(letters, needed, status, reason):
    result = run_check(Check(check_good, (needed,)), letters)
    assert (result.status, result.reason) == (status, reason)


def test_an_interrupt_is_not_a_failure(letters):
    def check_slow(subject):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_check(Check(check_slow), letters)
    with pytest.raises(KeyboardInterrupt):
        run_check(Check(check_good, (check_slow,)), letters)


REPORT = Report(
    "method", "nudge", "acme", "1.0", "nudge.py", {"steps": 2},
    (Result("check_a", "passed", "", 1.25), Result("check_b", "failed", "a | b", 0.5, "Traceback")),
)  # fmt: skip


def test_the_json_report_holds_everything():
    report = json.loads(json.dumps(to_json([REPORT])))
    assert report["ok"] is False
    assert {"python", "unlearnbench", "torch"} <= report["environment"].keys()
    (subject,) = report["subjects"]
    assert (subject["kind"], subject["name"], subject["params"]) == ("method", "nudge", {"steps": 2})
    assert subject["counts"] == {"failed": 1, "passed": 1}
    assert subject["results"][1] == {
        "name": "check_b", "status": "failed", "reason": "a | b", "seconds": 0.5, "details": "Traceback",
    }  # fmt: skip


def test_the_markdown_report_is_a_table():
    text = to_markdown([REPORT])
    assert "acme 1.0 with steps=2: does not conform: 1 failed, 1 passed in 1.8 s." in text
    assert "| check_b | failed | 0.5 | a \\| b |" in text


# ---------------------------------------------------------------- under pytest
def marked(name, **options):
    """Return the parameters of the decorator by id."""
    mark = parametrize_with_checks(name, **options).mark
    assert mark.args[0] == "check"
    return {parameter.id: parameter for parameter in mark.args[1]}


def call(parameter):
    (check,) = parameter.values
    check()


def test_every_check_is_a_parameter_that_passes_fails_or_skips(fake):
    found = marked("letters", expected_failures={"check_content_warning": "it has none"})
    call(found["check_ids_are_stable"])
    with pytest.raises(pytest.fail.Exception, match="pins no content"):
        call(found["check_version_pins_content"])
    (mark,) = found["check_content_warning"].marks
    assert (mark.name, mark.kwargs) == ("xfail", {"reason": "it has none", "strict": True})
    judge = marked("brightness", params={"threshold": 0.0})
    with pytest.raises(pytest.skip.Exception, match="same label"):
        call(judge["check_labels_follow_the_scores"])


def test_mistakes_of_the_decorator_are_told(fake):
    with pytest.raises(UserError, match="did you mean 'letters'"):
        parametrize_with_checks("lettres")
    with pytest.raises(UserError, match="unknown check"):
        parametrize_with_checks("letters", expected_failures={"check_nothing": "why"})
    with pytest.raises(UserError, match="threshold"):
        parametrize_with_checks("brightness", params={"threshold": 2})
