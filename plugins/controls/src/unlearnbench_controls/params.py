"""The parameters of the controls; light, so that they can be listed and checked without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from unlearnbench.api import Params
from unlearnbench.errors import UserError
from unlearnbench.identity import digest
from unlearnbench.plugins import load_plugins
from unlearnbench.run.plan import check_params

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from unlearnbench.api import MethodSpec, Request
    from unlearnbench.plugins import Entry

Scalar = (
    bool
    | Annotated[int, Field(ge=-(2**63), lt=2**63)]
    | Annotated[float, Field(ge=-1e300, le=1e300)]
    | str
    | None
)  # fmt: skip


class NoParams(Params):
    """A control without parameters."""


class NamesParams(Params):
    """Which words stand for a concept."""

    aliases: bool = Field(True, description="the concept's aliases too, not only its name")


class LikeParams(Params):
    """Which method a control runs, and how."""

    like: str = Field("uce", min_length=1, description="the method that is run; no control")
    like_params: dict[str, Scalar | tuple[Scalar, ...]] = Field(
        default_factory=dict, description="its parameters; those not given are of the suite's preset, or its defaults"
    )

    def with_presets(self, presets: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return these parameters, with those that the suite sets for the other method filled in."""
        given = {**presets.get(self.like, {}), **self.like_params}
        filled: Self = check_params(type(self), {**self.model_dump(), "like_params": given}, self.like)  # type: ignore[assignment]
        return filled

    def reads(self, request: Request) -> Mapping[str, str]:
        """Return the digest of the other method's code and parameters, and of what it reads itself."""
        entry, params = self.other()
        origin, values = entry.origin().model_dump(), params.model_dump(mode="json")
        own = digest({"method": entry.spec.name, "origin": origin, "params": values})
        return {self.like: own, **{f"{self.like}: {name}": found for name, found in params.reads(request).items()}}

    def other(self) -> tuple[Entry[MethodSpec], Params]:
        """Return the other method's entry and parameters.

        Raises:
            UserError: there is no such method, it is a control, or a parameter of it is wrong.
        """
        entry = load_plugins().methods.get(self.like)
        if entry.spec.control:
            raise UserError(f"'{self.like}' is a control, and a control runs a method", "name a method: -p like=uce")
        return entry, check_params(entry.load_params(), self.like_params, self.like)


class NonWordParams(LikeParams):
    """Which method forgets which word."""

    word: str = Field(
        "flombrix",
        pattern=r"^[a-z]{4,24}$",
        description="the word that means nothing; of several concepts the second gets a 'b' at its end, and so on",
    )
