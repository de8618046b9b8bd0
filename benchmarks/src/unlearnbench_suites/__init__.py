"""The suites that unlearnbench ships."""

from pathlib import Path

from unlearnbench.api import SuiteSource, hookimpl

_FOLDER = Path(__file__).parent / "suites"


@hookimpl
def unlearnbench_suites() -> list[SuiteSource]:
    """Register `emoji-quick`, `emoji20` and `emoji-dev`."""
    return [
        SuiteSource(
            "emoji-quick",
            _FOLDER / "emoji-quick.toml",
            "one concept of each kind on the embedded model; minutes on a laptop",
        ),
        SuiteSource("emoji20", _FOLDER / "emoji20.toml", "20 concepts x 10 prompts x 2 seeds on the embedded model"),
        SuiteSource("emoji-dev", _FOLDER / "emoji-dev.toml", "3 concepts that no board evaluates, to tune on"),
    ]
