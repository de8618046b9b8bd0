"""Checks of set evaluators, on small made-up pairs of images: the same values in whatever order and batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from unlearnbench.api import Sample, SetEvaluator, SetMetric, SetScore
from unlearnbench.checks.evaluator import check_fingerprint
from unlearnbench.checks.judging import GENERIC, Context, digests, pictures, truncated
from unlearnbench.checks.outcome import Skipped, demand
from unlearnbench.checks.run import Check
from unlearnbench.checks.spec import SPEC, check_parameters_have_defaults, check_target
from unlearnbench.leaks import contained

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from unlearnbench.checks.subject import Subject
    from unlearnbench.leaks import Group, Leak

CLOSE: Final = 1e-4  # batched matrix products round differently
COUNT: Final = 7
SIZES: Final = (1, 3, 32)
RANGES: Final[dict[SetMetric, tuple[float, float]]] = {
    "drift_mse": (0.0, 1.0), "drift_ssim": (-1.0, 1.0), "feature_distance": (0.0, 2.0), "lpips": (0.0, math.inf),
    "kid": (-math.inf, math.inf), "fid": (0.0, math.inf), "clip_score": (0.0, 100.0), "diversity": (0.0, 2.0),
    "blank_rate": (0.0, 1.0),
}  # fmt: skip
EQUAL: Final[dict[SetMetric, float]] = {
    "drift_mse": 0.0, "drift_ssim": 1.0, "feature_distance": 0.0, "lpips": 0.0, "fid": 0.0,
}  # fmt: skip
"""What a metric is for two equal sets, where its definition says so."""


def check_set_setup(subject: Subject) -> None:
    """Does `setup` load it without an exception?"""
    _ready(subject)


def check_every_image_has_its_values(subject: Subject) -> None:
    """Is there a `SetScore` with one value an image for each metric of images, and at least one metric?"""
    found = _whole(subject)
    demand(isinstance(found, SetScore), f"score_set() returns a {type(found).__name__}, not a SetScore")
    wrong = {name: len(values) for name, values in found.images.items() if len(values) != COUNT}
    demand(not wrong, f"{wrong} values for {COUNT} images")
    demand(found.images or found.whole, "there is no metric")
    twice = sorted(set(found.images) & set(found.whole))
    demand(not twice, f"{', '.join(twice)} is a value of single images and of the set: decide for one")


def check_readable_images_have_numbers(subject: Subject) -> None:
    """Has every metric a number for readable images?"""
    found = _whole(subject)
    bad = [name for name, values in found.images.items() if not all(map(math.isfinite, values))]
    bad += [name for name, value in found.whole.items() if not math.isfinite(value)]
    demand(not bad, f"not finite for readable images: {', '.join(bad)}")


def check_values_are_in_range(subject: Subject) -> None:
    """Is every value within what its metric can be?"""
    for name, value in _flat(_whole(subject)):
        low, high = RANGES[name]
        demand(low <= value <= high, f"{name} = {value} leaves [{low:g}, {high:g}]")


def check_equal_sets_do_not_differ(subject: Subject) -> None:
    """Are distances 0, and the structural similarity 1, where both sets are the same images?"""
    found = _ask(subject, _sets()[1], _sets()[1])
    looked = [(name, value) for name, value in _flat(found) if name in EQUAL]
    if not looked:
        raise Skipped("it has no metric whose value for equal sets is known")
    for name, value in looked:
        demand(abs(value - EQUAL[name]) <= CLOSE, f"{name} of equal sets is {value}, not {EQUAL[name]:g}")


def check_same_sets_same_values(subject: Subject) -> None:
    """Does a second instance find the same values?"""
    worst = _worst(_whole(subject), _ask(subject, *_sets(), again=1))
    demand(worst == 0.0, f"values differ by up to {worst:.2g}: use no randomness of your own")


def check_pairs_may_come_in_any_order(subject: Subject) -> None:
    """Does every image keep its values, and the set its own, when the pairs come in another order?"""
    edited, reference = _sets()
    turned = _ask(subject, edited[::-1], reference[::-1])
    back = SetScore(images={name: values[::-1] for name, values in turned.images.items()}, whole=turned.whole)
    worst = _worst(_whole(subject), back)
    demand(worst <= CLOSE, f"values change by up to {worst:.2g} when the pairs are turned round")


def check_no_value_depends_on_the_batch(subject: Subject) -> None:
    """Are the values the same with a `batch_size` of 1, 3 and 32?"""
    if "batch_size" not in subject.entry.load_params().model_fields:
        raise Skipped("it has no parameter batch_size")
    for size in SIZES:
        params = subject.params().model_copy(update={"batch_size": size})
        judge = _set_up(subject, subject.entry.load()(params))
        with contained():
            found = judge.score_set(*_sets(), GENERIC)
        worst = _worst(_whole(subject), found)
        demand(worst <= CLOSE, f"values change by up to {worst:.2g} in batches of {size}")


def check_unreadable_pairs_are_left_out(subject: Subject) -> None:
    """Is a damaged image NaN, with its partner, and is everything else as it is without the pair?"""
    edited, reference = _sets()
    bad = truncated()
    for first, second in ((bad, reference[0]), (edited[0], truncated())):
        found = _ask(subject, [first, *edited[1:]], [second, *reference[1:]])
        scored = [name for name, values in found.images.items() if not math.isnan(values[0])]
        demand(not scored, f"{', '.join(scored)} has a value for an image that cannot be read")
        rest = SetScore(images={name: values[1:] for name, values in found.images.items()}, whole=found.whole)
        worst = _worst(rest, _ask(subject, edited[1:], reference[1:]))
        demand(worst <= CLOSE, f"other values change by up to {worst:.2g} beside a damaged image")


def check_one_pair_and_none_are_taken(subject: Subject) -> None:
    """Do one pair and no pair give a `SetScore`, NaN where a set of one has no value?"""
    edited, reference = _sets()
    for count in (1, 0):
        found = _ask(subject, edited[:count], reference[:count])
        wrong = [name for name, values in found.images.items() if len(values) != count]
        demand(not wrong, f"{', '.join(wrong)}: not {count} values for {count} images")
        numbers = [name for name, value in found.whole.items() if not count and math.isfinite(value)]
        demand(not numbers, f"{', '.join(numbers)} has a value for no image")


def check_sets_are_not_changed(subject: Subject) -> None:
    """Are lists and images as they were?"""
    edited, reference = _sets()
    before = digests(edited), digests(reference)
    judge = _ready(subject)
    with contained():
        judge.score_set(edited, reference, GENERIC)
    demand((digests(edited), digests(reference)) == before, "it changes images or lists: work on a copy")


def check_set_random_state_is_left_alone(subject: Subject) -> None:
    """Is the global random state of python, numpy and torch untouched?"""
    _no_leak(subject, "random", "make a generator of your own")


def check_set_torch_settings_are_left_alone(subject: Subject) -> None:
    """Are grad mode, default dtype and device, threads and precision of torch untouched by comparing?"""
    _no_leak(subject, "torch", "set it in a `with` block, or put it back in `finally`")


def check_set_process_is_left_alone(subject: Subject) -> None:
    """Are environment variables, working directory and loggers untouched by comparing?"""
    _no_leak(subject, "process", "put it back in `finally`; log with ctx.log")


# ---------------------------------------------------------------- how they look
def _sets() -> tuple[list[Sample], list[Sample]]:
    """Return pairs of made-up images of 32 x 32: the second of each is the first, upside down and darker."""
    from PIL import Image

    reference = pictures(COUNT)
    turned = [sample.image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).point(lambda v: v // 2) for sample in reference]
    return [Sample(s.id, image, s.prompt) for s, image in zip(reference, turned, strict=True)], reference


def _ready(subject: Subject, *, again: int = 0) -> SetEvaluator[Any]:
    def make() -> SetEvaluator[Any]:
        with contained():
            return _set_up(subject, subject.make())

    return subject.remember(("comparer", again), make)


def _set_up(subject: Subject, judge: SetEvaluator[Any]) -> SetEvaluator[Any]:
    import logging

    import torch

    judge.setup(Context(torch.device("cpu"), logging.getLogger(f"unlearnbench.evaluator.{subject.spec.name}")))
    return judge


def _ask(subject: Subject, edited: list[Sample], reference: list[Sample], *, again: int = 0) -> SetScore:
    judge = _ready(subject, again=again)
    with contained():
        return judge.score_set(list(edited), list(reference), GENERIC)


def _whole(subject: Subject) -> SetScore:
    """Return what it finds for all pairs, asked once."""
    return subject.remember("set scores", lambda: _ask(subject, *_sets()))


def _flat(score: SetScore) -> list[tuple[SetMetric, float]]:
    found = [(name, value) for name, values in score.images.items() for value in values]
    return [*found, *score.whole.items()]


def _worst(one: SetScore, other: SetScore) -> float:
    """Return the largest difference of two scores; infinity where metrics or NaN differ."""
    a, b = _flat(one), _flat(other)
    if [name for name, _ in a] != [name for name, _ in b]:
        return math.inf
    gaps = [
        (0.0 if math.isnan(x) == math.isnan(y) else math.inf) if math.isnan(x) or math.isnan(y) else abs(x - y)
        for (_, x), (_, y) in zip(a, b, strict=True)
    ]
    return max(gaps, default=0.0)


def _no_leak(subject: Subject, group: Group, advice: str) -> None:
    """Look at the second time that it is set up and asked: the first may import libraries."""
    found: Sequence[Leak] = ()
    for again in (0, 1):
        found = subject.remember(("set leaks", again), lambda: _leaks(subject))
    said = [str(leak) for leak in found if leak.group == group]
    demand(not said, f"{', '.join(said[:3])}: {advice}")


def _leaks(subject: Subject) -> Sequence[Leak]:
    with contained() as found:
        _set_up(subject, subject.make()).score_set(*_sets(), GENERIC)
    return found


# ---------------------------------------------------------------- which of them
_MAKE = (check_target, check_parameters_have_defaults)
_ASK = (*_MAKE, check_set_setup, check_every_image_has_its_values)
_STEADY = (*_ASK, check_same_sets_same_values)
CHECKS = (
    *SPEC,
    Check(check_fingerprint, _MAKE),
    Check(check_set_setup, _MAKE),
    Check(check_every_image_has_its_values, (*_MAKE, check_set_setup)),
    Check(check_readable_images_have_numbers, _ASK),
    Check(check_values_are_in_range, _ASK),
    Check(check_equal_sets_do_not_differ, _ASK),
    Check(check_same_sets_same_values, _ASK),
    Check(check_pairs_may_come_in_any_order, _STEADY),
    Check(check_no_value_depends_on_the_batch, _STEADY),
    Check(check_unreadable_pairs_are_left_out, _STEADY),
    Check(check_one_pair_and_none_are_taken, _ASK),
    Check(check_sets_are_not_changed, _ASK),
    Check(check_set_random_state_is_left_alone, _ASK),
    Check(check_set_torch_settings_are_left_alone, _ASK),
    Check(check_set_process_is_left_alone, _ASK),
)
