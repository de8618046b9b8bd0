"""Take the commands and changes of the tutorial from its page, and run them in the working directory.

`python tests/tutorial.py` runs everything as a reader would, in a shell, with whatever `unlearnbench`, `pip` and
`pytest` come first.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[1] / "docs" / "tutorial" / "your-method-in-fifteen-minutes.md"
PACKAGE = "unlearnbench-nudge"
_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Command:
    """A line that is typed, and the exit code that the page promises."""

    line: str
    code: int


@dataclass(frozen=True)
class Change:
    """A change of a file of the package; `old` is there once, also when there is nothing to change (`new` is None)."""

    file: str
    old: str
    new: str | None

    def apply(self, package: Path) -> None:
        """Make the change.

        Raises:
            ValueError: the file does not hold the old text exactly once.
        """
        path = package / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{path} holds this {text.count(self.old)} times:\n{self.old}")
        if self.new is not None:
            path.write_text(text.replace(self.old, self.new), encoding="utf-8")


def steps(page: Path = PAGE) -> Iterator[Command | Change]:
    """Yield what a reader does, in order; a quotation of a file (`from`) is a change without a new text."""
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        kind, _, rest = (block["mark"] or "").partition(" ")
        lines = block["code"].splitlines()
        if block["language"] == "bash":
            code = int(rest.removeprefix("with ")) if kind == "exits" else 0
            yield from (Command(line, code) for line in lines)
        elif kind == "from:":
            yield Change(rest, block["code"], None)
        elif kind == "change:":
            old, new = ("".join(f"{line[1:]}\n" for line in lines if line[0] == sign) for sign in "-+")
            yield Change(rest, old, new)
        else:
            raise ValueError(f"a block of the tutorial that nobody runs:\n{block['code']}")


def main() -> None:
    """Do every step; the first that goes another way than the page says ends with exit code 1."""
    for step in steps():
        if isinstance(step, Change):
            print(f"({'changes' if step.new else 'quotes'} {step.file})\n", flush=True)
            step.apply(Path(PACKAGE))
            continue
        print(f"$ {step.line}", flush=True)
        ended = subprocess.run(step.line, shell=True, check=False)
        print(flush=True)
        if ended.returncode != step.code:
            sys.exit(f"exit code {ended.returncode}, and the page promises {step.code}")


if __name__ == "__main__":
    main()
