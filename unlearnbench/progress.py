"""How a run tells what it is doing; the command line draws it, tests and libraries may ignore it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")


class Reporter:
    """Receives progress; this one is silent."""

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Announce a stage of `total` units of work."""

    def advance(self, units: int, label: str) -> None:
        """Tell that `units` of the current stage are done, and what they belong to."""

    def track(self, items: Iterable[T], label: str) -> Iterator[T]:
        """Iterate over `items` inside one unit of work (the steps of an edit)."""
        yield from items

    def end(self) -> None:
        """Tell that the current stage is over."""

    def close(self) -> None:
        """Give the terminal back, also when a stage was cut short."""

    def note(self, text: str) -> None:
        """Say something that the user should see: a failure, a skipped edit."""
