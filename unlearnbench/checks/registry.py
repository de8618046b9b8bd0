"""Which checks a subject gets: those of its spec, then those of what it is."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearnbench.checks.outcome import Kind
    from unlearnbench.checks.run import Check


def checks_for(kind: Kind) -> tuple[Check, ...]:
    """Return the checks of one kind of plugin, in the order in which they run.

    The checks of methods import torch, so each kind has a module of its own.
    """
    found: tuple[Check, ...] = importlib.import_module(f"unlearnbench.checks.{kind}").CHECKS
    return found
