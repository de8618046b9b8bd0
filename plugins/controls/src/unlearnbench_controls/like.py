"""Another method, run by a control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearnbench.api import Method
    from unlearnbench_controls.params import LikeParams


def other(params: LikeParams) -> Method[Any]:
    """Return the method that a control runs, with its parameters.

    Raises:
        UserError: there is no such method, it is a control, or a parameter of it is wrong.
    """
    entry, values = params.other()
    made: Method[Any] = entry.load()(values)
    return made
