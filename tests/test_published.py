from __future__ import annotations

import csv
from importlib.resources import files

import pytest

from unlearnbench.errors import UserError
from unlearnbench.published import cut, harmonic_of_counts, names, table
from unlearnbench.stats.formulas import harmonic_mean

PRINTED = {"unedited": 0.313, "UCE": 0.480, "ESD": 0.504, "AlphaEdit": 0.642}
EXACT = {"unedited": 0.313800, "UCE": 0.480991, "ESD": 0.504640, "AlphaEdit": 0.642675}


def by_method(rows, column):
    return {row.method: row.values[column] for row in rows}


def test_the_harmonic_means_of_the_table_follow_from_its_counts():
    summary = table("seed-2025").summary
    assert by_method(summary, "harmonic_mean") == pytest.approx(EXACT, abs=1e-5)
    assert by_method(summary, "as_printed") == PRINTED
    printed = {"unedited": (0.195, 0.803), "UCE": (0.345, 0.794), "ESD": (0.367, 0.807), "AlphaEdit": (0.553, 0.768)}
    for row in summary:
        assert (row.values["forget"], row.values["retain"]) == pytest.approx(printed[row.method], abs=6e-4)


def test_neither_rounding_nor_printed_means_give_what_the_paper_prints():
    summary = {row.method: row.values for row in table("seed-2025").summary}
    assert round(summary["UCE"]["harmonic_mean"], 3) == 0.481 != PRINTED["UCE"]
    assert cut(float(harmonic_mean(0.345, 0.794))) == 0.481 != PRINTED["UCE"]
    single = [row.values["harmonic_mean"] for row in table("seed-2025").rows if row.method == "UCE"]
    assert sum(single) / len(single) == pytest.approx(0.41315, abs=1e-5)  # the mean of harmonic means is another one


def test_cutting_keeps_digits_that_are_exact():
    assert [cut(x) for x in (0.48, 0.4809, 0.4799999, 0.642675, 1.0)] == [0.48, 0.48, 0.479, 0.642, 1.0]


def test_counts_by_hand():
    rows = [
        {"forget_hits": "1", "forget_n": "2", "retain_hits": "3", "retain_n": "4"},
        {"forget_hits": "0", "forget_n": "2", "retain_hits": "4", "retain_n": "4"},
    ]
    assert harmonic_of_counts(rows) == pytest.approx((0.25, 0.875, 2 * 0.25 * 0.875 / 1.125))


@pytest.mark.parametrize("name", names())
def test_every_table_has_a_source_and_values_in_range(name):
    found = table(name)
    assert all((found.title, found.source, found.where, found.model, found.protocol, found.verified))
    assert found.rows
    ranges = {column.name: column.range for column in found.columns}
    for row in (*found.rows, *found.summary):
        for column, value in row.values.items():
            low, high = ranges[column]
            assert value is None or low <= value <= high, (row, column)
    places = [(row.method, row.case) for row in found.rows]
    assert len(set(places)) == len(places)
    assert {row.method for row in found.summary} in (set(), {row.method for row in found.rows})
    with files("unlearnbench.published").joinpath(f"data/{name}.csv").open(encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == len(found.rows)


def test_means_that_the_sources_print_follow_from_their_rows():
    erased = by_method(table("uce-imagenette").summary, "erased")
    others = by_method(table("uce-imagenette").summary, "others")
    assert erased == pytest.approx({"SD 1.4": 78.2, "UCE": 2.6, "ESD-u": 12.6}, abs=0.06)
    assert others == pytest.approx({"SD 1.4": 78.2, "UCE": 79.8, "ESD-u": 63.2}, abs=0.06)
    delta = by_method(table("uce-winobias").summary, "delta")
    assert delta["UCE"] == pytest.approx(0.22, abs=0.005)
    assert delta["TIME + preserve"] == pytest.approx(0.325, abs=0.001)  # the paper prints .31
    assert by_method(table("genmu-2025").summary, "err") == pytest.approx(
        {"ESD": 0.474, "CA": 0.468, "FMN": 0.452}, abs=0.003
    )


def test_errors_of_an_entry_follow_from_their_axes():
    axes = ("forget", "retain", "adjacent", "indirect", "adversarial")
    found = table("genmu-2026")
    for row in found.rows:
        # Axes have three digits: .083 stands for 5 of 60.
        assert float(harmonic_mean(*(row.values[axis] for axis in axes))) == pytest.approx(row.values["err"], abs=1e-3)
    mean = found.summary[0].values
    assert mean["err"] == pytest.approx(0.7245, abs=1e-4)
    assert float(harmonic_mean(*(mean[axis] for axis in axes))) == pytest.approx(0.824, abs=1e-3)  # another number


def test_counts_of_detections_add_up():
    for row in table("speed-i2p").rows:
        parts = {name: value for name, value in row.values.items() if name not in ("total", "coco_cs", "coco_fid")}
        assert sum(parts.values()) == row.values["total"]


def test_a_harmonic_mean_of_accuracies_is_as_printed():
    for row in table("speed-celebrities").rows:
        value = float(harmonic_mean(100.0 - row.values["acc_e"], row.values["acc_r"]))
        assert value == pytest.approx(row.values["h_o"], abs=0.02)


def test_what_was_not_reported_is_missing():
    real = next(row for row in table("uce-coco").rows if row.method == "real images")
    assert real.values["fid_real"] is None


def test_an_unknown_table_is_a_mistake_with_a_hint():
    with pytest.raises(UserError, match="unknown published table 'seed-2052'") as caught:
        table("seed-2052")
    assert caught.value.hint == "did you mean 'seed-2025'?"
