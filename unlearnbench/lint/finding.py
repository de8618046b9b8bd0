"""What a rule found, and the report of one data set or suite."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from unlearnbench.api import Frozen

Severity = Literal["error", "warning"]
Kind = Literal["dataset", "suite", "file"]


class Finding(Frozen):
    """One place that breaks a rule."""

    rule: str = Field(description="name of the rule")
    severity: Severity = Field("error", description="an error makes a number wrong, a warning leaves it poorer")
    concept: str = Field("", description="id of the concept; '' for a suite")
    text: str = Field("", description="the prompt, if it is about one")
    message: str = Field(description="what is wrong, in one sentence without an end")

    def __str__(self) -> str:
        return self.message


class Report(Frozen):
    """Everything that was found in one data set or suite."""

    kind: Kind
    name: str
    concepts: int = Field(description="how many concepts were looked at")
    prompts: int = Field(0, description="how many evaluation and edit prompts were looked at, with their targets")
    tokens: str = Field("", description="what counted the tokens of prompts")
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Return the findings that make a number wrong."""
        return tuple(f for f in self.findings if f.severity == "error")

    @property
    def ok(self) -> bool:
        """Tell whether there is no error."""
        return not self.errors
