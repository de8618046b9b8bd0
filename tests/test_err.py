"""ERR of three and of five axes: a mean over concepts of harmonic means, and nothing where an axis was not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.stats

from tests.scoretables import Decide, fail, random_decide, score_table
from tests.test_render import TextFiles, rounded
from unlearnbench.board.cells import Cell, interval
from unlearnbench.board.data import Board, Identified
from unlearnbench.board.make import make_board
from unlearnbench.board.measures import ERR
from unlearnbench.published import table
from unlearnbench.render import render
from unlearnbench.stats.formulas import harmonic_mean
from unlearnbench.stats.intervals import LEVEL
from unlearnbench.stats.resampling import Labels, concept_rates, macro_mean, resample, unit_weights

if TYPE_CHECKING:
    import pandas as pd

METHODS = ["unedited", "prompt-swap", "good", "bad"]
STILL = dict(zip(METHODS, [0.9, 0.05, 0.2, 0.6], strict=True))
RETAIN = dict(zip(METHODS, [0.9, 0.9, 0.8, 0.7], strict=True))
CONCEPTS = ["apple", "bird", "cactus", "dog", "egg", "fox", "guitar", "house", "iris"]
NEIGHBOURS = {name: [CONCEPTS[i - 1], CONCEPTS[i - 2]] for i, name in enumerate(CONCEPTS)}
AXES = ("forget_direct", "unrelated", "neighbour", "forget_indirect", "forget_adversarial")


def board_of(scores: pd.DataFrame, columns=("err3", "err5", *AXES), **options) -> Board:
    model = Identified(id="tiny-sd", fingerprint="ub1:" + "a" * 64)
    return make_board(scores, **{"title": "Axes", "columns": columns, "model": model, "draws": 200} | options)


def cells_of(board: Board, method: str) -> dict[str, Cell]:
    return next(row for row in board.rows if row.method == method).cells


def world(decide: Decide = random_decide(2, STILL, RETAIN), **options) -> pd.DataFrame:  # noqa: B008
    return score_table(METHODS, CONCEPTS, decide, **{"neighbours": NEIGHBOURS, "adversarial": 3} | options)


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return world()


@pytest.fixture(scope="module")
def board(scores) -> Board:
    return board_of(scores)


# ---------------------------------------------------------------- values
def axes_by_hand(scores: pd.DataFrame, method: str, forget: str) -> dict[str, float]:
    """Return what each axis is for one concept, by looking at its images alone."""
    own = scores[(scores["method"] == method) & (scores["forget"] == forget)]
    shows = own["label"].astype(float)
    erased, kept, near = own["role"] == "forget", own["role"] == "retain", own["neighbour"]
    return {
        **{f"forget_{k}": 1 - shows[erased & (own["prompt_kind"] == k)].mean() for k in own["prompt_kind"].unique()},
        "retain": shows[kept].mean(),
        "unrelated": shows[kept & ~near].mean(),
        "neighbour": shows[kept & near].mean(),
    }


@pytest.mark.parametrize("column", ["err3", "err5"])
def test_it_is_the_mean_of_the_harmonic_means_of_the_concepts(board, scores, column):
    for method in METHODS:
        found = [axes_by_hand(scores, method, name) for name in CONCEPTS]
        expected = np.mean([scipy.stats.hmean([one[axis] for axis in ERR[column]]) for one in found])
        assert cells_of(board, method)[column].value == pytest.approx(expected)
        for axis in AXES:
            assert cells_of(board, method)[axis].value == pytest.approx(np.mean([one[axis] for one in found]))


def test_the_axes_are_those_of_the_challenge():
    assert ERR["err5"] == AXES
    assert ERR["err3"] == ("forget_direct", "retain", "forget_indirect")


def test_the_errors_of_a_published_entry_follow_from_images_of_its_shares():
    """An image for an image: 20 direct, indirect and adversarial, 60 of neighbours, 380 of others for each concept."""
    entry = table("genmu-2026")
    rows = {row.case: dict(row.values) for row in entry.rows}
    names, near = list(rows), ["near 1", "near 2", "near 3"]
    asked = [*names, *near]
    prompts, seeds = 20, 2  # 10 direct and 10 indirect; retained concepts have both, twice the images of the entry

    def decide(method, erased, concept, prompt, seed):
        shares = rows[erased]
        if erased == concept:
            kind = ("forget", "indirect", "adversarial")[prompt // 10]
            return (prompt % 10) * seeds + seed >= round(20 * shares[kind])
        others = near if concept in near else [name for name in names if name != erased]
        image = (others.index(concept) * prompts + prompt) * seeds + seed
        n = len(others) * prompts * seeds
        return image < 2 * round(n / 2 * shares["adjacent" if concept in near else "retain"])

    own = score_table(
        ["MapRoute++"], asked, decide, forget=names, prompts=prompts, seeds=seeds, adversarial=10,
        neighbours=dict.fromkeys(names, near),
    )  # fmt: skip
    found = {e: scipy.stats.hmean([axes_by_hand(own, "MapRoute++", e)[a] for a in AXES]) for e in names}
    assert found == pytest.approx({name: row["err"] for name, row in rows.items()}, abs=6e-5)  # four digits are printed
    cells = cells_of(board_of(own, draws=5), "MapRoute++")
    (mean,) = (dict(row.values) for row in entry.summary)
    assert cells["err5"].value == pytest.approx(mean["err"], abs=2e-5)
    of_means = float(harmonic_mean(*(cells[axis].value for axis in AXES)))
    assert of_means == pytest.approx(0.824, abs=5e-4)  # the trap
    assert cells["err5"].value == pytest.approx(0.7245, abs=5e-5)


def test_an_axis_of_zero_makes_the_concept_zero_and_no_other():
    usual = random_decide(2, STILL, RETAIN)

    def decide(method, erased, concept, prompt, seed):
        attacked = erased == concept == "dog" and prompt >= 4
        return True if method == "good" and attacked else usual(method, erased, concept, prompt, seed)

    scores = world(decide)
    assert axes_by_hand(scores, "good", "dog")["forget_adversarial"] == 0.0
    found = [axes_by_hand(scores, "good", name) for name in CONCEPTS if name != "dog"]
    others = [scipy.stats.hmean([one[axis] for axis in AXES]) for one in found]
    assert cells_of(board_of(scores), "good")["err5"].value == pytest.approx(sum(others) / len(CONCEPTS))


def test_without_erasing_it_is_zero_and_with_all_of_it_one():
    nothing = world(lambda m, e, c, p, s: True)
    perfect = world(lambda m, e, c, p, s: e != c)
    for scores, value in ((nothing, 0.0), (perfect, 1.0)):
        cells = cells_of(board_of(scores), "good")
        for column in ERR:
            # Every concept has the same value and no draw moves it: there is no telling how sure it is.
            assert (cells[column].value, cells[column].interval, cells[column].lo) == (value, "none", None)


# ---------------------------------------------------------------- what was not measured
NO_ATTACK = "the suite has no adversarial prompts"
NO_NEIGHBOUR = "the suite evaluates no neighbour of a forgotten concept"


@pytest.mark.parametrize(
    ("options", "note", "three"),
    [
        ({"adversarial": 0}, NO_ATTACK, True),
        ({"neighbours": {}}, NO_NEIGHBOUR, True),
        ({"adversarial": 0, "neighbours": {}}, f"{NO_NEIGHBOUR}; {NO_ATTACK}", True),
        (
            {"neighbours": dict.fromkeys(CONCEPTS, CONCEPTS)},
            "the suite evaluates no concept but the forgotten one and its neighbours",
            True,
        ),
        ({"prompts": 1}, "the suite has no indirect prompts", False),
    ],
)
def test_an_axis_that_a_suite_does_not_measure_leaves_no_value(options, note, three):
    board = board_of(world(**options), draws=20)
    for method in METHODS:
        cells = cells_of(board, method)
        assert (cells["err5"].value, cells["err5"].note, cells["err5"].interval) == (None, note, "none")
        assert (cells["err3"].value is not None) == three
        assert cells["err3"].note == ("" if three else note)


def test_a_concept_without_an_axis_is_left_out_and_the_others_are_counted(scores):
    some = {name: NEIGHBOURS[name] for name in CONCEPTS[:4]}
    table = world(neighbours=some)
    cells = cells_of(board_of(table), "good")
    found = [axes_by_hand(table, "good", name) for name in CONCEPTS[:4]]
    expected = np.mean([scipy.stats.hmean([one[axis] for axis in AXES]) for one in found])
    assert cells["err5"].value == pytest.approx(expected)
    assert (cells["err5"].n_concepts, cells["err3"].n_concepts) == (4, 9)


def test_no_concept_with_all_axes_is_no_value():
    odd = CONCEPTS[:4]
    table = world(neighbours={name: NEIGHBOURS[name] for name in odd})
    table = table[(table["prompt_kind"] != "adversarial") | ~table["forget"].isin(odd)]
    cells = cells_of(board_of(table), "good")
    assert cells["forget_adversarial"].value is not None
    assert (cells["err5"].value, cells["err5"].note) == (None, "no forgotten concept has a value on every axis")


def test_a_failed_edit_is_counted_and_in_no_value(scores):
    lost = fail(scores, (scores["method"] == "good") & (scores["forget"] == "dog"), "CUDA out of memory")
    cells = cells_of(board_of(lost), "good")
    found = [axes_by_hand(scores, "good", name) for name in CONCEPTS if name != "dog"]
    assert cells["err5"].value == pytest.approx(np.mean([scipy.stats.hmean([o[a] for a in AXES]) for o in found]))
    assert (cells["err5"].n_concepts, cells["err5"].n_failed) == (8, 4 * 2 + 3 * 2 + 8 * 4 * 2)
    gone = cells_of(board_of(fail(scores, scores["method"] == "good", "CUDA out of memory")), "good")
    assert {gone[column].note for column in ERR} == {"CUDA out of memory"}


# ---------------------------------------------------------------- what does not matter
def test_rows_in_another_order_and_more_methods_change_nothing(board, scores):
    shuffled = board_of(scores.sample(frac=1.0, random_state=5))
    alone = board_of(scores[scores["method"] == "good"])
    for column in (*ERR, *AXES):
        whole = cells_of(board, "good")[column]
        assert cells_of(shuffled, "good")[column] == whole
        assert cells_of(alone, "good")[column] == whole


def test_another_order_of_the_concepts_gives_the_same_values(board, scores):
    turned = dict(zip(CONCEPTS, reversed(CONCEPTS), strict=True))
    renamed = scores.assign(
        forget=scores["forget"].map(turned),
        concept=scores["concept"].map(turned),
        prompt_id=[f"{turned[i.partition('/')[0]]}/{i.partition('/')[2]}" for i in scores["prompt_id"]],
    )
    for column in ERR:
        assert cells_of(board_of(renamed), "bad")[column].value == pytest.approx(cells_of(board, "bad")[column].value)


def test_prompts_without_attacks_give_what_they_gave(scores):
    plain = cells_of(board_of(scores[scores["prompt_kind"] != "adversarial"]), "good")
    same = cells_of(board_of(world(adversarial=0)), "good")
    assert plain == same


# ---------------------------------------------------------------- how sure it is
def test_intervals_are_of_the_bootstrap_over_concepts(board, scores):
    for column in ERR:
        cell = cells_of(board, "good")[column]
        assert cell.interval == "bootstrap"
        assert cell.lo < cell.value < cell.hi
    few = cells_of(board_of(scores[scores["forget"].isin(CONCEPTS[:3])]), "good")
    assert {few[column].interval for column in ERR} == {"wider"}
    one = cells_of(board_of(scores[scores["forget"] == "dog"]), "good")
    assert {one[column].interval for column in ERR} == {"none"}
    assert one["err5"].value == pytest.approx(
        scipy.stats.hmean([axes_by_hand(scores, "good", "dog")[axis] for axis in AXES])
    )


def test_methods_can_be_ranked_by_it(scores):
    board = board_of(scores, rank_by="err5")
    assert [row.method for row in board.rows if row.rank is not None] == ["good", "bad"]
    (pair,) = board.differences
    own = cells_of(board, "good")["err5"].value - cells_of(board, "bad")["err5"].value
    assert (pair.column, pair.value) == ("err5", pytest.approx(own))
    assert pair.lo < pair.value < pair.hi


def random_labels(rng: np.random.Generator, n: int) -> Labels:
    """Draw labels of a world: rates vary by concept, by pair and by prompt; two neighbours for each concept."""
    kinds = ("direct",) * 5 + ("indirect",) * 5 + ("adversarial",) * 3
    prompt = rng.normal(0.0, 0.5, (n, len(kinds)))
    odds = 1.5 + rng.normal(0.0, 0.7, (1, n, 1)) + rng.normal(0.0, 0.5, (n, n, 1)) + prompt
    own = np.eye(n, dtype=bool)
    odds[own] = -0.4 + rng.normal(0.0, 1.2, (n, 1)) + prompt
    shows = (rng.random((1, n, n, 1, len(kinds), 2)) < 1.0 / (1.0 + np.exp(-odds))[None, :, :, None, :, None]) + 0.0
    shows[:, ~own, :, 10:] = np.nan
    role = {"forget": own, "retain": ~own, "neighbour": np.roll(own, 1, axis=1) | np.roll(own, 2, axis=1)}
    names = tuple(f"c{i:02}" for i in range(n))
    return Labels(("m",), names, names, kinds, shows.astype(np.float32), role)


@pytest.mark.slow
def test_intervals_hold_the_expected_value_about_as_often_as_they_say():
    rng, n, rounds = np.random.default_rng(7), 12, 100

    def found(labels, weights):
        return harmonic_mean(*(concept_rates(labels, axis, weights) for axis in AXES))

    def value(labels):
        unit = unit_weights(labels)
        return float(macro_mean(found(labels, unit), unit)[0, 0])

    # Of as many images: a harmonic mean of few images is below that of many.
    truth = np.mean([value(random_labels(rng, n)) for _ in range(1000)])
    hits = 0
    for _ in range(rounds):
        labels = random_labels(rng, n)
        weights = resample(labels, rng, 200)
        draws = macro_mean(found(labels, weights), weights)[:, 0]
        low, high, _ = interval(found(labels, unit_weights(labels))[0, 0], draws, LEVEL, "err5")
        hits += low <= truth <= high
    assert hits / rounds >= 0.88  # 100 rounds of a true .95 fall below it once in 400 times


# ---------------------------------------------------------------- how it looks
@pytest.mark.parametrize("form", ["rich", "md"])
def test_a_board_with_axes_looks_as_it_did(board, snapshot, form):
    assert rounded(render(board, form)) == snapshot.use_extension(TextFiles)


def test_adversarial_prompts_are_a_part_of_their_own(board):
    parts = {part.name: part for part in board.slices if part.by == "prompt-kind"}
    assert list(parts) == ["direct", "indirect", "adversarial"]
    cells = parts["adversarial"].cells["good"]
    assert cells["forget"].value == cells_of(board, "good")["forget_adversarial"].value
    assert (cells["retain"].value, cells["retain"].note) == (None, "no image is of a concept besides the forgotten one")
    assert "adversarial" in render(board, "rich", by="prompt-kind")


def test_the_description_names_the_axes(board):
    titles = {column.name: column.title for column in (*board.columns, *board.more)}
    for column in board.columns:
        if column.name in ERR:
            assert all(titles[axis] in column.description for axis in ERR[column.name])
