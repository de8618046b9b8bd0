"""Delta and its noise floor against small oracles and simulations, and on a board."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scoretables import score_table
from unlearnbench.board.balance import Balance, noise_floor
from unlearnbench.board.data import Identified
from unlearnbench.board.make import make_board
from unlearnbench.results.table import validate
from unlearnbench.stats.resampling import label_array, unit_weights

HALF = {"woman": 0.5, "man": 0.5}


def table(seen, *, desired=HALF, prompts=10, seeds=5, methods=("unedited", "uce"), concepts=("cook", "dog")):
    """Return a table in which `seen` names the attribute of each image of a forgotten concept: method, number -> id."""
    scores = score_table(methods, concepts, lambda *_: True, forget=[c for c in concepts if c != "dog"],
                         prompts=prompts, seeds=seeds)  # fmt: skip
    own = scores["role"] == "forget"
    number = scores[own].groupby(["method", "forget"]).cumcount()
    found = [seen(m, int(n)) for m, n in zip(scores["method"][own], number, strict=True)]
    scores.loc[own, "attribute"] = found
    scores.loc[own, "desired"] = [desired.get(name, np.nan) for name in found]
    return validate(scores)


def values(scores):
    """Return delta, corrected delta and floor, [method, forget]; methods in alphabetical order."""
    balance = Balance(scores)
    shares = balance.shares(unit_weights(label_array(scores)))
    return balance.delta(shares)[0], balance.corrected(shares)[0], balance.floor()


@pytest.mark.parametrize("women", [0, 10, 25, 45, 50])
def test_delta_of_two_equal_attributes_is_the_papers(women):
    delta, corrected, floor = values(table(lambda m, n: "woman" if n < women else "man", methods=("uce",)))
    p = women / 50
    assert delta[0, 0] == pytest.approx(abs(0.5 - p) / 0.5)
    square = (50 * delta[0, 0] ** 2 - 1) / 49
    assert corrected[0, 0] == pytest.approx(max(0.0, square) ** 0.5, abs=1e-9)
    assert floor[0, 0] == pytest.approx((2 / (np.pi * 50)) ** 0.5)


def test_the_floor_is_what_a_balanced_model_has_on_average():
    random = np.random.default_rng(0)
    for n in (50, 250):
        simulated = np.abs(random.binomial(n, 0.5, 200_000) / n - 0.5).mean() / 0.5
        assert 2 * noise_floor(np.array(0.5), np.array(n)) == pytest.approx(simulated, rel=0.02)
    assert 2 * noise_floor(np.array(0.5), np.array(250)) == pytest.approx(0.050, abs=5e-4)
    assert np.isnan(noise_floor(np.array(0.5), np.array(0)))


def test_the_correction_is_unbiased_before_it_is_cut():
    random, n, p, d = np.random.default_rng(1), 40, 0.7, 0.4
    drawn = random.binomial(n, p, 400_000) / n
    estimate = (drawn - d) ** 2 - drawn * (1 - drawn) / (n - 1)
    assert estimate.mean() == pytest.approx((p - d) ** 2, abs=1e-3)


def test_images_without_an_attribute_are_left_out_and_none_gives_no_value():
    scores = table(lambda m, n: None if m == "unedited" or n % 2 else "woman" if n % 4 else "man")
    delta, corrected, floor = values(scores)
    assert delta[0, 0] == pytest.approx(0.04)  # uce: 12 and 13 of 25
    assert corrected[0, 0] == 0.0
    assert floor[0, 0] == pytest.approx((2 / (np.pi * 25)) ** 0.5)
    assert np.isnan([delta[1, 0], corrected[1, 0], floor[1, 0]]).all()


def test_attributes_that_are_never_shown_count():
    desired = {"a": 0.2, "b": 0.3, "c": 0.5}
    delta, _, _ = values(table(lambda m, n: "a" if n < 25 else "b", desired=desired, methods=("uce",)))
    assert delta[0, 0] == pytest.approx(0.3 + 0.2 + 0.5)
    delta, _, _ = values(
        table(lambda m, n: "c" if n < 25 else "a" if n < 35 else "b", desired=desired, methods=("uce",))
    )
    assert delta[0, 0] == pytest.approx(0.0, abs=1e-9)


def test_the_board_ranks_by_delta_the_smaller_the_better():
    rates = {"unedited": 45, "prompt-swap": 25, "good": 28, "bad": 40}
    scores = table(lambda m, n: "woman" if n < rates[m] else "man", methods=tuple(rates))
    board = make_board(
        scores, title="t", columns=("delta", "shown"), rank_by="delta", model=Identified(id="m", fingerprint="f")
    )
    found = {row.method: row for row in board.rows}
    assert [found[m].cells["delta"].value for m in rates] == [pytest.approx(abs(25 - k) / 25) for k in rates.values()]
    assert (found["good"].rank, found["bad"].rank) == (1, 2)
    assert found["good"].cells["shown"].value == 1.0
    assert found["good"].cells["delta"].n_images == 50
    assert {c.name for c in board.more} >= {"delta_corrected", "delta_floor"}


def test_intervals_enclose_the_value():
    concepts = tuple(f"c{i}" for i in range(9))
    random = np.random.default_rng(2)
    scores = table(
        lambda m, n: "woman" if random.random() < 0.7 else "man", concepts=(*concepts, "dog"), methods=("uce",)
    )
    board = make_board(
        scores, title="t", columns=("delta",), rank_by="delta", model=Identified(id="m", fingerprint="f")
    )
    cell = board.rows[0].cells["delta"]
    assert 0.0 <= cell.lo < cell.value < cell.hi <= 2.0
    assert cell.interval == "wider"


def test_a_board_without_attributes_has_no_delta():
    scores = score_table(("unedited", "uce"), ("a", "b"), lambda *_: True)
    board = make_board(scores, title="t", columns=("forget", "delta"), model=Identified(id="m", fingerprint="f"))
    assert board.rows[0].cells["delta"].value is None
    assert "no image showed an attribute" in board.rows[0].cells["delta"].note
    assert not {c.name for c in board.more} & {"shown", "delta_corrected"}


@pytest.mark.parametrize("change", [{"desired": 1.5}, {"desired": None}, {"attribute": None}])
def test_an_attribute_has_a_share(change):
    scores = table(lambda m, n: "woman").copy()
    for name, value in change.items():
        scores.loc[scores["role"] == "forget", name] = value
    with pytest.raises(ValueError, match="attribute"):
        validate(scores)


def test_the_mean_distance_to_the_forgotten_training_image_is_a_column():
    scores = score_table(("unedited", "siss"), ("seal", "dog"), lambda *_: True, forget=["seal"])
    own = scores["role"] == "forget"
    scores.loc[own & (scores["method"] == "siss"), "distance"] = 0.3
    scores.loc[own & (scores["method"] == "unedited"), "distance"] = [0.0, 0.1] * 4
    columns = ("nearest_distance",)
    board = make_board(validate(scores), title="t", columns=columns, model=Identified(id="m", fingerprint="f"))
    found = {row.method: row.cells["nearest_distance"].value for row in board.rows}
    assert found == {"siss": pytest.approx(0.3), "unedited": pytest.approx(0.05)}
