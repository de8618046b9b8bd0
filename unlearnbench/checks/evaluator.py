"""Checks of evaluators, on small made-up images: one score an image, whatever stands beside it in the batch."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from unlearnbench.api import Score
from unlearnbench.checks.judging import Examples, ask, digests, lone_question, pictures, ready, truncated
from unlearnbench.checks.outcome import Skipped, demand
from unlearnbench.checks.run import Check
from unlearnbench.checks.spec import (
    HEAVY,
    SPEC,
    check_parameters_have_defaults,
    check_target,
    in_new_python,
)
from unlearnbench.leaks import contained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.checks.subject import Subject
    from unlearnbench.leaks import Group, Leak

CLOSE = 1e-4  # batched matrix products round differently
DIGEST = re.compile(r"^[a-z0-9]+:[0-9a-f]{8,}$")
_SCRIPT = """
import importlib, json, sys
search, heavy, target, params, given = json.loads(sys.argv[1])
sys.path[:0] = search
def find(path):
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
digests = [find(target)(find(params)(**given)).fingerprint() for _ in range(2)]
print(json.dumps([digests, [name for name in heavy if name in sys.modules]]))
"""


def check_fingerprint(subject: Subject) -> None:
    """Is the fingerprint a tagged digest, the same each time, and made without torch?"""
    spec = subject.spec
    params = subject.params().model_dump(mode="json")
    digests, heavy = in_new_python(subject, _SCRIPT, list(HEAVY), spec.target, getattr(spec, "params", ""), params)
    for found in digests:
        demand(
            isinstance(found, str) and DIGEST.match(found), f"{found!r} is no tagged digest such as 'ub1:<64 digits>'"
        )
    demand(
        len({*digests, subject.make().fingerprint()}) == 1,
        "it is another one each time: make it from files and constants",
    )
    demand(not heavy, f"fingerprint() loads {', '.join(heavy)}: plans are made without; import it in setup()")


def check_setup(subject: Subject) -> None:
    """Does `setup` load the judge without an exception?"""
    ready(subject)


def check_scores_every_image(subject: Subject) -> None:
    """Is there one `Score` an image?"""
    samples = pictures()
    scores = ask(subject, samples)
    demand(isinstance(scores, list), f"score() returns a {type(scores).__name__}, not a list")
    demand(len(scores) == len(samples), f"{len(scores)} scores for {len(samples)} images")
    odd = {type(score).__name__ for score in scores if not isinstance(score, Score)}
    demand(not odd, f"score() lists {', '.join(sorted(odd))}, not Score")


def check_readable_images_get_a_number(subject: Subject) -> None:
    """Is at least one of some readable images scored?"""
    numbers = _numbers(subject)
    demand(
        not all(map(math.isnan, numbers)),
        "every p_yes is NaN: give the judge what it needs with -p, or let examples() return a question that it knows",
    )


def check_scores_are_in_range(subject: Subject) -> None:
    """Is every p_yes NaN or between 0 and 1, with the label None exactly where it is NaN?"""
    for score in _scores(subject):
        demand(math.isnan(score.p_yes) or 0.0 <= score.p_yes <= 1.0, f"p_yes = {score.p_yes}: it is a probability")
        demand(
            math.isnan(score.p_yes) == (score.label is None),
            f"p_yes = {score.p_yes} with the label {score.label}: the label is None exactly where p_yes is NaN",
        )


def check_labels_follow_the_scores(subject: Subject) -> None:
    """Has no image with the label yes a lower p_yes than one with the label no?"""
    scores = [s for s in _scores(subject, count=24) if s.label is not None]
    yes = [s.p_yes for s in scores if s.label]
    no = [s.p_yes for s in scores if not s.label]
    if not yes or not no:
        raise Skipped("all made-up images get the same label")
    demand(min(yes) >= max(no), f"yes with p_yes = {min(yes):.4f}, and no with p_yes = {max(no):.4f}")


def check_more_of_the_concept_scores_higher(subject: Subject) -> None:
    """Does each image that shows a concept score higher than one that does not, of those that `examples()` gives?"""
    judge = ready(subject)
    given = judge.examples() if isinstance(judge, Examples) else ()
    if not given:
        raise Skipped("it has no examples(): let it return [(question, image that shows it, image that does not), ...]")
    for question, shown, absent in given:
        high, low = (score.p_yes for score in ask(subject, pictures(images=(shown, absent)), question))
        demand(high > low, f"'{question.display}': {high:.4f} where it is shown, and {low:.4f} where it is not")


def check_same_images_same_scores(subject: Subject) -> None:
    """Does a second judge give the same scores to the same images?"""
    first, second = _scores(subject), ask(subject, pictures(), again=1)
    bad = [number for number, pair in enumerate(zip(first, second, strict=True)) if not _same(*pair)]
    demand(not bad, f"image {bad[:1]} gets {first[bad[0]].p_yes} and then {second[bad[0]].p_yes}" if bad else "")


def check_batch_size_does_not_matter(subject: Subject) -> None:
    """Do images get the same scores alone, in threes and all at once?"""
    whole = sorted(_numbers(subject))
    for size in (1, 3):
        samples = pictures()
        parts = [samples[start : start + size] for start in range(0, len(samples), size)]
        numbers = sorted(score.p_yes for part in parts for score in ask(subject, part))
        worst = max(_distance(a, b) for a, b in zip(whole, numbers, strict=True))
        demand(worst <= CLOSE, f"p_yes changes by up to {worst:.2g} in batches of {size}")


def check_order_does_not_matter(subject: Subject) -> None:
    """Does every image keep its score when the images come in another order?"""
    samples, numbers = pictures(), _numbers(subject)
    turned = ask(subject, samples[::-1])[::-1]
    worst = max(_distance(a, b.p_yes) for a, b in zip(numbers, turned, strict=True))
    demand(worst <= CLOSE, f"p_yes of an image changes by up to {worst:.2g} when the images are turned round")


def check_unreadable_image_is_unscored(subject: Subject) -> None:
    """Does a damaged image get NaN and None, and do its neighbours keep their scores?"""
    samples = pictures()
    scores = ask(subject, [samples[0], truncated(), *samples[1:]])
    demand(len(scores) == len(samples) + 1, f"{len(scores)} scores for {len(samples) + 1} images, one of them damaged")
    demand(math.isnan(scores[1].p_yes) and scores[1].label is None, f"the damaged image gets p_yes = {scores[1].p_yes}")
    others = [scores[0], *scores[2:]]
    worst = max(_distance(a, b.p_yes) for a, b in zip(_numbers(subject), others, strict=True))
    demand(worst <= CLOSE, f"p_yes of the readable ones changes by up to {worst:.2g} beside a damaged image")


def check_inputs_are_not_changed(subject: Subject) -> None:
    """Are the list, the images and the question as they were?"""
    samples, question = pictures(), lone_question(subject)
    before, asked, order = digests(samples), question.model_dump_json(), [sample.id for sample in samples]
    judge = ready(subject)
    with contained():
        judge.score(samples, question)
    demand([sample.id for sample in samples] == order, "it changes the list of samples: work on a copy")
    demand(digests(samples) == before, "it changes the pixels of the images: work on a copy")
    demand(question.model_dump_json() == asked, "it changes the classes of the question: work on a copy")


def check_no_images_no_scores(subject: Subject) -> None:
    """Does an empty batch give an empty list?"""
    found = ask(subject, [])
    demand(found == [], f"an empty batch gives {found!r}")


def check_random_state_is_left_alone(subject: Subject) -> None:
    """Is the global random state of python, numpy and torch untouched?"""
    _no_leak(subject, "random", "make a generator of your own")


def check_torch_settings_are_left_alone(subject: Subject) -> None:
    """Are grad mode, default dtype and device, threads and precision of torch untouched?"""
    _no_leak(subject, "torch", "set it in a `with` block, or put it back in `finally`")


def check_process_is_left_alone(subject: Subject) -> None:
    """Are environment variables, working directory and loggers untouched?"""
    _no_leak(subject, "process", "put it back in `finally`; log with ctx.log")


# ---------------------------------------------------------------- how they look
def _scores(subject: Subject, count: int = 7) -> list[Score]:
    """Return the scores of `count` made-up images, asked once."""
    return subject.remember(("scores", count), lambda: ask(subject, pictures(count)))


def _numbers(subject: Subject) -> list[float]:
    return [score.p_yes for score in _scores(subject)]


def _distance(one: float, other: float) -> float:
    """Return |a - b|; 0 for two NaN, infinity for one."""
    if math.isnan(one) or math.isnan(other):
        return 0.0 if math.isnan(one) == math.isnan(other) else math.inf
    return abs(one - other)


def _same(one: Score, other: Score) -> bool:
    return _distance(one.p_yes, other.p_yes) == 0.0 and (one.label, one.answer) == (other.label, other.answer)


def _no_leak(subject: Subject, group: Group, advice: str) -> None:
    """Look at the second time that the judge is set up and asked: the first may import libraries."""
    for again in (0, 1):
        found = subject.remember(("leaks", again), lambda: leaks(subject))
    said = [str(leak) for leak in found if leak.group == group]
    demand(not said, f"{', '.join(said[:3])}: {advice}")


def leaks(subject: Subject) -> Sequence[Leak]:
    """Set a judge up, ask it, and return what it left changed."""
    with contained() as found:
        ready(subject, fresh=True).score(pictures(), lone_question(subject))
    return found


# ---------------------------------------------------------------- which of them
_MAKE = (check_target, check_parameters_have_defaults)
_ASK = (*_MAKE, check_setup, check_scores_every_image)
_SCORED = (*_ASK, check_readable_images_get_a_number)
_STEADY = (*_SCORED, check_same_images_same_scores)
CHECKS = (
    *SPEC,
    Check(check_fingerprint, _MAKE),
    Check(check_setup, _MAKE),
    Check(check_scores_every_image, (*_MAKE, check_setup)),
    Check(check_readable_images_get_a_number, _ASK),
    Check(check_scores_are_in_range, _SCORED),
    Check(check_labels_follow_the_scores, (*_SCORED, check_scores_are_in_range)),
    Check(check_more_of_the_concept_scores_higher, _STEADY),
    Check(check_same_images_same_scores, _SCORED),
    Check(check_batch_size_does_not_matter, _STEADY),
    Check(check_order_does_not_matter, _STEADY),
    Check(check_unreadable_image_is_unscored, (*_STEADY, check_order_does_not_matter)),
    Check(check_inputs_are_not_changed, _ASK),
    Check(check_no_images_no_scores, (*_MAKE, check_setup)),
    Check(check_random_state_is_left_alone, _ASK),
    Check(check_torch_settings_are_left_alone, _ASK),
    Check(check_process_is_left_alone, _ASK),
)
