"""Checks of methods, on small random models: what an edit changes, and what it leaves alone."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import torch

from unlearnbench.api import Sampling
from unlearnbench.checks.observation import ALIEN, ONE, TWO, asked, attempt, observe, predict, small
from unlearnbench.checks.outcome import Failed, Skipped, demand
from unlearnbench.checks.run import Check
from unlearnbench.checks.spec import SPEC, check_parameters_have_defaults, check_target
from unlearnbench.edits import EditFile, read_edit, same_bits, write_edit
from unlearnbench.run.look import differences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.checks.observation import Observation, Shape
    from unlearnbench.checks.subject import Subject
    from unlearnbench.leaks import Group
    from unlearnbench.run.look import Look


def check_edit(subject: Subject) -> None:
    """Does `edit` forget one concept of a small random model without an exception?"""
    _finish(attempt(subject))


def check_changes_something(subject: Subject) -> None:
    """Does the edit change a tensor, or ask the sampler for something?"""
    seen = observe(subject)
    asks = seen.sampling is not None and seen.sampling != Sampling()
    demand(
        seen.changed or asks,
        "after the edit every tensor has the bits it had before, and nothing is asked of the sampler",
    )


def check_changes_what_it_declares(subject: Subject) -> None:
    """Does it change only tensors that `edits` of the spec names, and nothing that no edit file holds?"""
    seen = observe(subject)
    patterns = tuple(getattr(subject.spec, "edits", ()))
    extra = [name for name in seen.changed if not any(fnmatchcase(name, pattern) for pattern in patterns)]
    declared = ", ".join(patterns) or "no tensor"
    demand(not extra, f"it changes {_list(extra)}, and its spec declares {declared}")
    odd = differences(_before(seen).rest, _after(seen).rest)
    demand(not odd, f"no edit file can hold this: {_list(odd)}")


def check_values_are_finite(subject: Subject) -> None:
    """Is every number of every changed tensor finite?"""
    bad = [name for name, value in observe(subject).changed.items() if not bool(value.isfinite().all())]
    demand(not bad, f"NaN or infinity in {_list(bad)}")


def check_tensors_keep_their_form(subject: Subject) -> None:
    """Has every tensor the name, shape, dtype and device that it had before?"""
    seen = observe(subject)
    odd = differences(_before(seen).tensors, _after(seen).tensors)
    demand(not odd, f"{_list(odd)} (merge adapters, and cast back, before `edit` returns)")


def check_modes_are_put_back(subject: Subject) -> None:
    """Are training mode and requires_grad as they were?"""
    seen = observe(subject)
    old, new = _before(seen).flags, _after(seen).flags
    odd = [name for name in old if name in new and old[name] != new[name]]
    demand(not odd, f"left changed: {_list(odd)}")


def check_modules_are_put_back(subject: Subject) -> None:
    """Are modules, attention processors and hooks as they were?"""
    seen = observe(subject)
    odd = differences(_before(seen).parts, _after(seen).parts)
    demand(not odd, _list(odd))


def check_same_seed_same_edit(subject: Subject) -> None:
    """Does a second edit with the same seed give the same bits?"""
    other = _unlike(*_twice(subject))
    demand(not other, f"two edits with seed 0 differ in {_list(other)}: draw every number from ctx.generator(...)")


def check_other_seed_other_edit(subject: Subject) -> None:
    """Does a method that asks for randomness give another edit with another seed?"""
    first, _ = _twice(subject)
    if not first.random:
        raise Skipped("it asks for no seed and no generator")
    if not first.changed:
        raise Skipped("it changes no tensor")
    demand(
        _unlike(first, observe(subject, shape=_shape(subject), seed=1)),
        "seeds 0 and 1 give the same bits, though it asks for randomness: use what ctx.generator(...) returns",
    )


def check_random_state_is_left_alone(subject: Subject) -> None:
    """Is the global random state of python, numpy and torch untouched?"""
    _no_leak(_twice(subject)[1], "random", "draw from ctx.generator(...)")


def check_torch_settings_are_left_alone(subject: Subject) -> None:
    """Are grad mode, default dtype and device, threads and precision of torch untouched?"""
    _no_leak(_twice(subject)[1], "torch", "set it in a `with` block, or put it back in `finally`")


def check_process_is_left_alone(subject: Subject) -> None:
    """Are environment variables, working directory and loggers untouched?"""
    _no_leak(_twice(subject)[1], "process", "put it back in `finally`; log with ctx.log")


def check_writes_only_to_its_folder(subject: Subject) -> None:
    """Is nothing written outside `ctx.tmp`?"""
    written = [path for seen in (observe(subject), *_twice(subject)) for path in seen.written]
    demand(not written, f"it writes {_list(list(dict.fromkeys(written)))}: scratch files belong in ctx.tmp")


def check_saved_edit_gives_the_edited_model(subject: Subject) -> None:
    """Does the edit file, applied to a fresh base, predict bit for bit what the edited model predicts?"""
    seen = observe(subject)
    demand(isinstance(seen.prediction, torch.Tensor), f"the edited model raises {type(seen.prediction).__name__}")
    if not seen.changed:
        demand(_equal(seen.prediction, seen.base), "no tensor differs, yet the model predicts something else")
        return
    base = small("main")
    path = subject.folder("saved") / "edit.safetensors"
    write_edit(path, EditFile(tensors=seen.changed, key="ub1:check", base=base.info.fingerprint, task={}))
    base.apply(read_edit(path).tensors)
    demand(
        _equal(seen.prediction, predict(base)),
        "the saved tensors do not give the edited model: something is changed that is no tensor of the state dict",
    )


def check_alien_model_is_refused(subject: Subject) -> None:
    """Does `supports` give a reason, one sentence, for a model of a family that nobody knows?"""
    method = subject.make()
    reason = method.supports(ALIEN, asked(method, ONE))
    demand(reason is not None, f"it claims to support a model of family '{ALIEN.family}' without text layers")
    demand(isinstance(reason, str) and len(reason.split()) >= 3, f"its reason is no sentence: {reason!r}")


def check_several_concepts(subject: Subject) -> None:
    """Does it forget two concepts at once, both of them, or give a reason why not?"""
    shape = _shape(subject)
    seen = attempt(subject, shape=shape, request=TWO)
    if seen.refusal is not None:
        demand(len(seen.refusal.split()) >= 3, f"the reason of `supports` is no sentence: {seen.refusal!r}")
        return
    _finish(seen)
    bad = [name for name, value in seen.changed.items() if not bool(value.isfinite().all())]
    demand(not bad, f"NaN or infinity in {_list(bad)}")
    first = observe(subject, shape=shape)
    demand(
        _unlike(first, seen) or first.sampling != seen.sampling,
        "forgetting cat and beach gives the same edit as forgetting cat: let `supports` refuse several concepts",
    )


def check_other_shapes(subject: Subject) -> None:
    """Does it edit a model of other text length, width and version, for which 77 and 768 are wrong?"""
    seen = attempt(subject, shape="other")
    if seen.refusal is not None:
        demand(len(seen.refusal.split()) >= 3, f"the reason of `supports` is no sentence: {seen.refusal!r}")
        return
    _finish(seen)
    demand(seen.changed or seen.sampling, "there it changes nothing")
    bad = [name for name, value in seen.changed.items() if not bool(value.isfinite().all())]
    demand(not bad, f"NaN or infinity in {_list(bad)}")


# ---------------------------------------------------------------- how they look
def _shape(subject: Subject) -> Shape:
    """Return the model on which edits are repeated: the one with the shorter text, unless the method fails there."""
    seen = attempt(subject, shape="other")
    return "main" if seen.refusal is not None or seen.error is not None else "other"


def _twice(subject: Subject) -> tuple[Observation, Observation]:
    """Return two equal edits."""
    shape = _shape(subject)
    return observe(subject, shape=shape), observe(subject, shape=shape, again=1)


def _finish(seen: Observation) -> None:
    """Fail unless the edit was made."""
    demand(seen.refusal is None, f"`supports` refuses it, so that no edit can be checked: {seen.refusal}")
    if seen.error is not None:
        raise Failed(f"`edit` raised {type(seen.error).__name__}: {_first_line(seen.error)}") from seen.error
    demand(
        seen.sampling is None or isinstance(seen.sampling, Sampling),
        f"`edit` returned {type(seen.sampling).__name__}: it returns None or a Sampling",
    )


def _unlike(one: Observation, other: Observation) -> list[str]:
    """Return the tensors that two edits left with different bits."""
    names = sorted(one.changed.keys() | other.changed.keys())
    return [
        n for n in names
        if n not in one.changed or n not in other.changed or not same_bits(one.changed[n], other.changed[n])
    ]  # fmt: skip


def _no_leak(seen: Observation, group: Group, advice: str) -> None:
    found = [str(leak) for leak in seen.leaks if leak.group == group]
    demand(not found, f"{_list(found)}: {advice}")


def _equal(one: object, other: object) -> bool:
    return isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor) and same_bits(one, other)


def _before(seen: Observation) -> Look:
    if seen.before is None:
        raise Skipped("the edit was not made")
    return seen.before


def _after(seen: Observation) -> Look:
    if seen.after is None:
        raise Skipped("the edit was not made")
    return seen.after


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")


def _list(items: Sequence[str]) -> str:
    """Name the first few."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return f"{', '.join(items[:3])}{more}"


# ---------------------------------------------------------------- which of them
_MAKE = (check_target, check_parameters_have_defaults)
_EDIT = (*_MAKE, check_edit)
_SOUND = (*_EDIT, check_changes_something, check_values_are_finite)
CHECKS = (
    *SPEC,
    Check(check_alien_model_is_refused, _MAKE),
    Check(check_edit, _MAKE),
    Check(check_changes_something, _EDIT),
    Check(check_changes_what_it_declares, _EDIT),
    Check(check_values_are_finite, _EDIT),
    Check(check_tensors_keep_their_form, _EDIT),
    Check(check_modes_are_put_back, _EDIT),
    Check(check_modules_are_put_back, _EDIT),
    Check(check_saved_edit_gives_the_edited_model, (*_EDIT, check_tensors_keep_their_form)),
    Check(check_same_seed_same_edit, _EDIT),
    Check(check_other_seed_other_edit, (*_EDIT, check_same_seed_same_edit)),
    Check(check_random_state_is_left_alone, _EDIT),
    Check(check_torch_settings_are_left_alone, _EDIT),
    Check(check_process_is_left_alone, _EDIT),
    Check(check_writes_only_to_its_folder, _EDIT),
    Check(check_several_concepts, (*_SOUND, check_same_seed_same_edit)),
    Check(check_other_shapes, _SOUND),
)
