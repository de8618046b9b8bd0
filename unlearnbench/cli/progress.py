"""Progress on stderr: bars on a terminal, one line for each finished task elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sized
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from unlearnbench.progress import Reporter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")


class BarReporter(Reporter):
    """Draws one bar for the stage and one below it for what happens inside a unit of work."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<6}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[label]}", style="dim"),
            console=console,
            transient=True,
        )
        self._stage: TaskID | None = None

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Show a new bar."""
        self._progress.start()
        self._stage = self._progress.add_task(stage, total=total, unit=unit, label="")

    def advance(self, units: int, label: str) -> None:
        """Move the bar."""
        if self._stage is not None:
            self._progress.update(self._stage, advance=units, label=escape(label))

    def track(self, items: Iterable[T], label: str) -> Iterator[T]:
        """Show a second bar while iterating."""
        total = len(items) if isinstance(items, Sized) else None
        task = self._progress.add_task("", total=total, unit="", label=escape(label))
        try:
            for item in items:
                yield item
                self._progress.advance(task)
        finally:
            self._progress.remove_task(task)

    def end(self) -> None:
        """Remove the bar."""
        if self._stage is not None:
            self._progress.refresh()
            self._progress.remove_task(self._stage)
            self._stage = None
        self.close()

    def close(self) -> None:
        """Show the cursor again."""
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(Text(text, style="yellow"), soft_wrap=True)


class LineReporter(Reporter):
    """Prints one line for each finished task, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage, self._total, self._done, self._unit = "", 0, 0, ""
        self._last = ""
        self._start = 0.0

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Start a stage."""
        self._stage, self._total, self._done, self._unit = stage, total, 0, unit
        self._last, self._start = "", time.perf_counter()

    def advance(self, units: int, label: str) -> None:
        """Print a line when a task has been finished."""
        if self._last not in ("", label) or self._unit == "edits":
            self._line(self._last if self._unit != "edits" else label, units)
        self._done += units
        self._last = label

    def end(self) -> None:
        """Print the line of the last task."""
        if self._last and self._unit != "edits":
            self._line(self._last, 0)

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _line(self, label: str, units: int) -> None:
        done = self._done + (units if self._unit == "edits" else 0)
        seconds = time.perf_counter() - self._start
        text = f"{self._stage} {done}/{self._total} {self._unit}  {seconds:.1f} s  {label}"
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def reporter() -> Reporter:
    """Return the reporter that fits stderr."""
    console = Console(stderr=True)
    return BarReporter(console) if console.is_terminal else LineReporter(console)
