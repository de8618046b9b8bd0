"""The suites that unlearnbench ships."""

from pathlib import Path

from unlearnbench.api import SuiteSource, hookimpl

_FOLDER = Path(__file__).parent / "suites"


@hookimpl
def unlearnbench_suites() -> list[SuiteSource]:
    """Register `emoji-quick` and `emoji20`."""
    return [
        SuiteSource(
            "emoji-quick",
            _FOLDER / "emoji-quick.toml",
            "one concept of each kind on the embedded model; minutes on a laptop",
        ),
        SuiteSource("emoji20", _FOLDER / "emoji20.toml", "20 concepts x 10 prompts x 2 seeds on the embedded model"),
    ]
