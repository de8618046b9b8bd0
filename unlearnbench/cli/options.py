"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from unlearnbench.errors import UserError
from unlearnbench.store import Store, default_root

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("rich", "md", "html", "latex", "json", "csv")


def store_option(function: F) -> F:
    """Add --store."""
    return click.option(
        "--store", "store_root", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
        help="Where results are kept.  [default: $UNLEARNBENCH_STORE or the user's data folder]",
    )(function)  # fmt: skip


def device_option(function: F) -> F:
    """Add --device."""
    return click.option(
        "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1; auto takes a GPU if there is one."
    )(function)


def device_options(function: F) -> F:
    """Add --device and --dtype."""
    function = click.option(
        "--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), default="float32", show_default=True,
        help="What the weights are kept and edited in.",
    )(function)  # fmt: skip
    return device_option(function)


def several_options(function: F) -> F:
    """Add --together and --sequence."""
    function = click.option(
        "--sequence", "several", flag_value="sequence",
        help="Forget all concepts in one edit, each on the model that those before it left.",
    )(function)  # fmt: skip
    return click.option(
        "--together", "several", flag_value="together", help="Forget all concepts at once, in one edit."
    )(function)


def params_option(function: F) -> F:
    """Add -p."""
    return click.option(
        "-p", "--param", "params", multiple=True, metavar="K=V",
        help="Set a parameter; NAME.K=V when several plugins run.",
    )(function)  # fmt: skip


def seed_option(function: F) -> F:
    """Add --seed."""
    return click.option(
        "--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1),
        help="Seed of the methods' own randomness.",
    )(function)  # fmt: skip


def model_options(help: str, *, required: bool = False) -> Callable[[F], F]:  # noqa: A002  click's own word
    """Add --model, with what it says of itself, and --revision."""

    def add(function: F) -> F:
        function = click.option("--revision", metavar="REV", help="Git revision of a hub id.")(function)
        return click.option("--model", required=required, metavar="ID", help=help)(function)

    return add


def open_store(root: Path | None) -> Store:
    """Return the store of a command."""
    return Store(root or default_root())


def parse_params(methods: Sequence[str], others: Sequence[str], given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Sort -p K=V by plugin.

    Args:
        methods: the methods of the command; 'K=V' without a name belongs to the only one.
        others: other plugins that 'NAME.K=V' may name.
        given: the options as typed.

    Raises:
        UserError: an option is not of the form K=V, or it is unclear which plugin it belongs to.
    """
    sorted_by: dict[str, dict[str, Any]] = {name: {} for name in (*methods, *others)}
    for option in given:
        left, equals, right = option.partition("=")
        owner, dot, field = left.rpartition(".")
        if not equals or not field:
            raise UserError(f"-p {option} is not of the form K=V", "type for example -p lamb=10")
        if not dot:
            if len(methods) != 1:
                what = "several methods run" if methods else "no method runs"
                raise UserError(f"-p {option}: {what}", f"type -p {next(iter(sorted_by), 'NAME')}.{option}")
            owner = methods[0]
        if owner not in sorted_by:
            from unlearnbench.plugins import unknown

            raise unknown("plugin in -p", owner, sorted_by)
        sorted_by[owner][field] = _value(right)
    return sorted_by


def _value(text: str) -> Any:
    """Read a value as JSON where it is JSON, else as the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
