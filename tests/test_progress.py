"""What a run prints while it works."""

from __future__ import annotations

import io

from rich.console import Console

from unlearnbench.cli.progress import BarReporter, LineReporter


def drive(reporter):
    reporter.begin("edit", 2, "edits")
    assert list(reporter.track(range(3), "epochs")) == [0, 1, 2]
    reporter.advance(1, "uce dog")
    reporter.note("failed: edit uce [red]cat: no")
    reporter.advance(1, "uce cat")
    reporter.end()
    reporter.begin("sample", 30, "images")
    for _ in range(2):
        reporter.advance(10, "uce dog: apple")
    reporter.advance(10, "uce dog: bird")
    reporter.end()


def test_a_log_gets_one_line_for_each_finished_task():
    out = io.StringIO()
    drive(LineReporter(Console(file=out, width=80)))
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "edit 1/2 edits",
        "failed: edit uce [red]cat: no",
        "edit 2/2 edits",
        "sample 20/30 images",
        "sample 30/30 images",
    ]
    assert lines[3].endswith("uce dog: apple")
    assert lines[4].endswith("uce dog: bird")


def test_a_terminal_gets_bars_and_keeps_the_notes():
    out = io.StringIO()
    drive(BarReporter(Console(file=out, force_terminal=True, width=80)))
    text = out.getvalue()
    assert "30/30" in text
    assert "images" in text
    assert "failed: edit uce [red]cat: no" in text
