from __future__ import annotations

import csv
import json
import re
from io import StringIO
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
from rich.cells import cell_len
from rich.console import Console
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from tests.scoretables import fail, judge_edits, random_decide, score_table, unscore
from unlearnbench.board.data import Board, Identified
from unlearnbench.board.make import make_board
from unlearnbench.published import table
from unlearnbench.render import latex, render
from unlearnbench.render.json import json_schema
from unlearnbench.render.markdown import escape
from unlearnbench.render.rich import BoardView
from unlearnbench.render.text import number, plain

COLUMNS = ("forget", "retain", "harmonic_mean", "forget_indirect", "edit_seconds", "verdict")
METHODS = ("unedited", "prompt-swap", "alphaedit", "uce", "esd")
STILL = dict(zip(METHODS, [0.9, 0.0, 0.2, 0.35, 0.5], strict=True))
RETAIN = dict(zip(METHODS, [0.95, 0.95, 0.9, 0.8, 0.7], strict=True))
HOSTILE = "evil\x1b[31m[bold]|<b>*x*\u202e\n# `y`"


class TextFiles(SingleFileSnapshotExtension):
    """One text file a snapshot, in the folder `snapshots`."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"

    @classmethod
    def dirname(cls, *, test_location):
        return str(Path(test_location.filepath).parent / "snapshots" / test_location.basename)


@pytest.fixture
def shown(snapshot):
    return snapshot.use_extension(TextFiles)


def table_of(concepts: int, **options):
    names = ["apple", "bicycle", "cactus", "dog", "engraving", "flamingo", "guitar", "house", "iguana"][:concepts]
    return score_table(METHODS, names, random_decide(1, STILL, RETAIN), **options)


def board_of(scores, columns=COLUMNS, **options) -> Board:
    model = Identified(id="emojiworld-sd", fingerprint="ub1:" + "ab" * 32)
    return make_board(scores, **{"title": "Tiny board", "columns": columns, "model": model, "draws": 100} | options)


def incomplete() -> Board:
    """Return a board with every way of missing something."""
    scores = table_of(9, neighbours={"dog": ["flamingo"]})
    scores = fail(scores, (scores["method"] == "uce") & scores["forget"].isin(["dog", "house"]), "CUDA out of memory")
    scores = fail(scores, scores["method"] == "esd", "this model has no text encoder", "skipped")
    scores = judge_edits(
        scores,
        (scores["method"] == "alphaedit") & scores["forget"].isin(["apple", "dog"]),
        "collapsed",
        "the answers to the retain prompts moved 1.2 times as far as without any text",
    )
    scores = judge_edits(
        scores,
        (scores["method"] == "uce") & (scores["forget"] == "apple"),
        "no-op",
        "no tensor has another value than before, and nothing is asked of the sampler",
    )
    lost = (scores["method"] == "alphaedit") & (scores["prompt_id"] == "cactus/indirect/4") & (scores["seed"] == 1)
    return board_of(unscore(scores, lost))


def rounded(text: str) -> str:
    """Return text without the digits that may differ from processor to processor."""
    return re.sub(r"\d+\.\d{9,}", lambda match: f"{float(match[0]):.8f}", text)


@pytest.fixture(scope="module")
def boards() -> dict[str, Board]:
    complete = table_of(9)
    one = complete[(complete["forget"] == "apple") & (complete["method"] != "esd")]
    return {"complete": board_of(complete), "incomplete": incomplete(), "one-concept": board_of(one)}


@pytest.mark.parametrize("name", ["complete", "incomplete", "one-concept"])
@pytest.mark.parametrize("by", ["method", "concept", "prompt-kind"])
@pytest.mark.parametrize("form", ["rich", "md", "csv", "latex"])
def test_board_looks_as_it_did(boards, shown, name, by, form):
    assert rounded(render(boards[name], form, by=by)) == shown


@pytest.mark.parametrize("form", ["rich", "md", "csv", "latex"])
def test_published_tables_look_as_they_did(shown, form):
    board = board_of(table_of(9), published=[table("seed-2025"), table("hub")])
    assert rounded(render(board, form)) == shown


@pytest.fixture(scope="module")
def with_control() -> Board:
    """Return a board with a control that has edits, the best of all rows, and what the suite's package says of it."""
    complete = table_of(9)
    best, edited = (complete[complete["method"] == name].reset_index(drop=True) for name in ("prompt-swap", "uce"))
    answers = {"label": best["label"], "p_yes": best["p_yes"]}
    more = edited.assign(method="filter", plugin="filter", family="control", **answers)
    more = judge_edits(more, more["forget"] == "apple", "no-op", "nothing moved")
    scores = pd.concat([complete, more], ignore_index=True)
    return board_of(scores, controls={"filter": "prompts without the concept's <name>"})


@pytest.mark.parametrize("form", ["rich", "md", "csv", "latex"])
def test_a_board_with_a_control_that_has_edits(with_control, shown, form):
    assert rounded(render(with_control, form)) == shown


def test_controls_stand_below_the_methods_on_the_page(with_control):
    page = render(with_control, "html")
    rows = re.findall(r'<tr data-method="([^"]+)"[^>]*?( class="control")?>', page)
    ranked = [row.method for row in with_control.rows if not row.control]
    assert rows == [
        *((name, "") for name in ranked),
        *((n, ' class="control"') for n in ("prompt-swap", "unedited", "filter")),
    ]
    assert "filter is a control, without a rank: prompts without the concept&#39;s &lt;name&gt;." in page


def test_json_looks_as_it_did(boards, shown):
    assert rounded(render(boards["incomplete"], "json")) == shown


def test_json_holds_the_whole_board(boards):
    for board in boards.values():
        text = render(board, "json")
        assert Board.model_validate_json(text) == board
        data = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert data["schema"] == "unlearnbench.board/3"
    esd = next(row for row in json.loads(render(boards["incomplete"], "json"))["rows"] if row["method"] == "esd")
    assert esd["cells"]["forget"]["value"] is None
    assert esd["cells"]["forget"]["n_failed"] == 72


def test_json_is_what_its_schema_says(boards):
    page = Path(__file__).parents[1] / "docs" / "reference" / "board.schema.json"
    # To write it anew: python -c "from unlearnbench.render.json import json_schema; print(json_schema(), end='')"
    assert page.read_text(encoding="utf-8") == json_schema()
    validator = jsonschema.Draft202012Validator(json.loads(page.read_text(encoding="utf-8")))
    for board in boards.values():
        validator.validate(json.loads(render(board, "json")))
    broken = json.loads(render(boards["complete"], "json"))
    broken["rows"][0]["cells"]["forget"]["value"] = "high"
    assert not validator.is_valid(broken)


def test_csv_is_tidy(boards):
    board = boards["incomplete"]
    lines = list(csv.DictReader(StringIO(render(board, "csv"))))
    assert len(lines) == len(board.rows) * len(board.columns + board.more)
    by_name = {(line["method"], line["column"]): line for line in lines}
    cell = next(row for row in board.rows if row.method == "alphaedit").cells["retain"]
    line = by_name["alphaedit", "retain"]
    assert (float(line["value"]), float(line["lo"]), float(line["hi"])) == (cell.value, cell.lo, cell.hi)
    assert int(line["n_unscored"]) == cell.n_unscored == 8
    assert by_name["esd", "forget"]["value"] == ""
    assert by_name["esd", "forget"]["note"] == "this model has no text encoder"


@pytest.mark.parametrize("by", ["method", "concept"])
@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_terminal_is_never_overrun_and_nothing_is_cut(boards, by, width):
    for board in boards.values():
        text = render(board, "rich", by=by, width=width)
        assert max(cell_len(line) for line in text.splitlines()) <= width
        assert "…" not in text
        shown = "".join(text.split())
        assert all(part in shown for row in board.rows for part in row.method.split("-"))
        if by == "method":
            for row in board.rows:
                cells = [row.cells[column.name] for column in board.columns]
                shares = [
                    cell
                    for cell, column in zip(cells, board.columns, strict=True)
                    if column.unit == "1" and column.name != "verdict"
                ]
                values = [number(cell.value, "1") for cell in shares if cell.value is not None]
                assert all(value in shown for value in values)
        else:
            assert all(concept in shown for concept in board.forget)


def test_a_wide_terminal_has_the_interval_beside_the_value(boards):
    cell = next(row for row in boards["complete"].rows if row.method == "alphaedit").cells["forget"]
    together = f"{number(cell.value, '1')} [{number(cell.lo, '1', 2)},{number(cell.hi, '1', 2)}]"
    assert together in render(boards["complete"], "rich", width=120)
    assert together not in render(boards["complete"], "rich", width=80)
    assert together in render(boards["complete"], "md")


def test_all_seven_columns_are_shown_at_eighty(boards):
    columns = (*COLUMNS, "forget_direct", "neighbour")
    scores = table_of(9, neighbours={"dog": ["house"]})
    text = render(board_of(scores, columns), "rich")
    assert max(len(line) for line in text.splitlines()) <= 80
    assert text.count("alphaedit") == 2  # a second table holds what does not fit beside the first


def test_failures_and_missing_values_are_seen(boards):
    for form in ("rich", "md"):
        text = render(boards["incomplete"], form)
        assert "2 of 9 failed" in text
        assert "9 of 9 skipped" in text
        assert "9 unscored" in text
        assert "CUDA out of memory" in text
        assert "this model has no text encoder" in text
        assert "n/a" in text


@pytest.mark.parametrize("form", ["rich", "md", "csv", "latex", "html"])
@pytest.mark.parametrize("by", ["method", "concept", "kind", "prompt-kind"])
def test_text_from_data_stays_text(form, by):
    scores = table_of(2).replace({"uce": HOSTILE})
    scores = fail(scores, (scores["method"] == HOSTILE) & (scores["forget"] == "apple"), HOSTILE)
    text = render(board_of(scores, title=HOSTILE), form, by=by)
    assert not [c for c in text if c in "\x1b\u202e"]
    assert r"\x1b" in text.replace(r"\\", "\\").replace(r"\textbackslash{}", "\\")
    if form == "rich":
        assert "[bold]" in "".join(text.split())
    if form == "md":
        table = [line for line in text.splitlines() if line.startswith("|")]
        assert len({line.replace(r"\|", "").count("|") for line in table}) == 1
        assert "<b>" not in text.replace(r"\<", "")
        assert not [line for line in text.splitlines() if line.startswith("# ")]


def test_latex_shows_special_characters():
    assert latex.escape("a_b & 50 % of $x$ #1 {y} ~^\\") == (
        r"a\_b \& 50 \% of \$x\$ \#1 \{y\} \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    rows = [
        line for line in render(board_of(table_of(2).replace({"uce": "a & b"})), "latex").splitlines() if " & " in line
    ]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in rows}) == 1


def test_colours_are_left_to_the_console(boards):
    console = Console(width=80, force_terminal=True, color_system="standard", file=StringIO(), legacy_windows=False)
    console.print(BoardView(boards["incomplete"]))
    assert "\x1b[31m" in console.file.getvalue()
    assert "\x1b" not in render(boards["incomplete"], "rich")


def test_labels_break_at_their_separators():
    label = "alphaedit[layers=3,null_space=0.01]"
    text = render(board_of(table_of(2).replace({"alphaedit": label})), "rich")
    assert "alphaedit[layers=3," in text
    assert "null_space=0.01]" in text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.6424, "1", ".642"),
        (1.0, "1", "1.000"),
        (0.0, "1", ".000"),
        (0.9996, "1", "1.000"),
        (0.034, "s", "0.03"),
        (0.84, "s", "0.8"),
        (9.96, "s", "10"),
        (1234.5, "s", "1,234"),
        (-0.25, "1", "-.250"),
        (1_050_624.0, "weights", "1.05M"),
        (859_520_964.0, "weights", "860M"),
        (12.0, "weights", "12"),
        (13.203, "", "13.203"),
        (98.5, "%", "98.5"),
        (576.0, "n", "576"),
    ],
)
def test_numbers_are_short(value, unit, text):
    assert number(value, unit) == text


def test_plain_text_shows_control_characters():
    assert plain("a\x1b[0m\n\u202eb\x7f") == r"a\x1b[0m\n\u202eb\x7f"
    assert plain("naïve 木 ok") == "naïve 木 ok"


def test_markdown_shows_special_characters():
    assert escape("a|b*c_d<e>`f`[g]\\") == r"a\|b\*c\_d\<e\>\`f\`\[g\]" + "\\\\"
