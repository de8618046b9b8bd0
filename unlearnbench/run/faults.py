"""What an edit does that no edit may do: each fault makes it broken."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from unlearnbench.run.look import differences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from unlearnbench.leaks import Leak
    from unlearnbench.run.look import Look


def edit_faults(
    before: Look,
    after: Look,
    tensors: Mapping[str, torch.Tensor],
    leaks: Sequence[Leak],
    edits: Sequence[str] | None,
) -> list[str]:
    """Return what is wrong with an edit, the gravest first, one clause a kind.

    Changed random state, environment variables and loggers are no fault: they are put back and change no result that
    is made afterwards. Settings of torch are: images and other edits are computed with them.

    Args:
        before: the model before the edit.
        after: the model as the method left it.
        tensors: the tensors that changed, if names, shapes and dtypes did not.
        leaks: global state that was left changed.
        edits: patterns of the tensors that the method declares; None = any.
    """
    base, form = differences(before.rest, after.rest), differences(before.tensors, after.tensors)
    parts = differences(before.parts, after.parts)
    unsound = [name for name, value in tensors.items() if not bool(value.isfinite().all())]
    buffers = [name for name in tensors if name in after.buffers]
    foreign = [n for n in tensors if edits is not None and not any(fnmatchcase(n, pattern) for pattern in edits)]
    flags = [f"{n} is {after.flags[n]}" for n, old in before.flags.items() if after.flags.get(n, old) != old]
    settings = [leak.what for leak in leaks if leak.group == "torch"]
    found = (
        ("it changes the base model where no edit file reaches", base),
        ("it leaves tensors of another form", form),
        ("there is NaN or infinity", unsound),
        ("it changes buffers, which are no weights", buffers),
        ("it changes tensors that the method does not declare", foreign),
        ("it leaves global state changed", settings),
        ("it leaves other modules, attention processors or hooks", parts),
        ("it leaves modes changed", flags),
    )
    return [f"{what}: {_list(names)}" for what, names in found if names]


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(names[:2])}{more}"
