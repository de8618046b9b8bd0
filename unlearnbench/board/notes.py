"""What a board says about itself in words: how sure its values are, and what they may not be taken for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearnbench.board.cells import SMALL, make_cell
from unlearnbench.board.columns import COLUMNS
from unlearnbench.board.measures import BOUNDS
from unlearnbench.run.plan import PROMPT_SWAP, UNEDITED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unlearnbench.board.measures import Measures
    from unlearnbench.board.ranking import Ranking


def board_notes(measures: Measures, ranking: Ranking, draws: int, controls: Mapping[str, str]) -> list[str]:
    """Return the remarks of a board, in the order a reader needs them.

    Args:
        measures: the values.
        ranking: the places.
        draws: bootstrap draws.
        controls: what a control is, in words, by the name of its plugin.
    """
    return [
        *_intervals(measures, draws),
        *_ranks(measures, ranking),
        *_bounds(measures),
        *_controls(measures, controls),
    ]


def _intervals(measures: Measures, draws: int) -> list[str]:
    n, percent = len(measures.labels.forget), f"{100 * measures.level:g} %"
    if n == 1:
        notes = [
            "One forgotten concept: no interval over concepts; the view by concept, as csv or json, has one of images."
        ]
    elif n < SMALL:
        notes = [
            f"[lo, hi]: {percent} interval. Fewer than {SMALL} concepts: the wider ends of Student's on concept means "
            f"and of a bootstrap over concepts, prompts and seeds, the same {draws:,} draws for all methods; Wilson's "
            "where all concepts agree."
        ]
    else:
        notes = [
            f"[lo, hi]: {percent} interval; bootstrap over concepts, prompts and seeds, the same {draws:,} draws for "
            "all methods; for forget Student's on concept means where wider; Wilson's where all concepts agree."
        ]
    if len(measures.scores["method_seed"].unique()) == 1:
        notes.append("One method seed: how much a method varies from edit to edit is in no interval.")
    return notes


def _ranks(measures: Measures, ranking: Ranking) -> list[str]:
    notes = []
    methods = [place for place in ranking.places if place.method not in measures.controls]
    title, percent = COLUMNS[ranking.column].title, f"{100 * (1.0 - measures.level):g} %"
    if any(place.group for place in methods):
        notes.append(
            f"A shared letter: not told apart in {title} by Wilcoxon's signed-rank test over concepts at {percent}, "
            "after Holm's correction. Rank: 1 + the better methods that are told apart."
        )
    elif len([place for place in methods if place.rank is not None]) > 1:
        few = len(measures.labels.forget) < SMALL
        why = f"telling methods apart takes at least {SMALL} forgotten concepts" if few else f"{title} is not tested"
        notes.append(f"Ranks only order the values: {why}.")
    if any(place.rank is None for place in methods):
        notes.append(
            f"No rank: there is no {title}, or some forgotten concepts have no score and values are means over others."
        )
    return notes


def _bounds(measures: Measures) -> list[str]:
    forget = {name: make_cell(measures, name, "forget").value for name in BOUNDS if name in measures.labels.methods}
    notes = []
    if (ceiling := forget.get(PROMPT_SWAP)) is not None:
        notes.append(
            f"{PROMPT_SWAP} is a control: the unedited model, given the target prompts. Its forget {ceiling:.3f} is "
            "the ceiling: what the judge gives a perfect edit."
        )
    if (floor := forget.get(UNEDITED)) is not None:
        notes.append(
            f"{UNEDITED} is a control: its forget {floor:.3f} is the floor: what the judge misses, and prompts that "
            "the model fails."
        )
    return notes


def _controls(measures: Measures, words: Mapping[str, str]) -> list[str]:
    notes = []
    for name in measures.controls:
        if name not in BOUNDS:
            what = words.get(str(measures.methods[name]["plugin"].iloc[0]), "it is there to compare with")
            notes.append(f"{name} is a control, without a rank: {what}.")
    return notes
