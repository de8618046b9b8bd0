"""`unlearnbench env`: what a bug report needs."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version

import click

from unlearnbench.plugins import load_plugins
from unlearnbench.store import default_root

PACKAGES = (
    "unlearnbench",
    "torch",
    "diffusers",
    "transformers",
    "safetensors",
    "numpy",
    "pandas",
    "pydantic",
    "pluggy",
)


@click.command("env")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def env_command(as_json: bool) -> None:
    """Print versions, devices, store and plugins."""
    facts = environment()
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for key, value in facts.items():
        click.echo(f"{key:<14}{', '.join(value) if isinstance(value, list) else value}")


def environment() -> dict[str, str | list[str]]:
    """Return the facts of this machine and installation."""
    import torch

    facts: dict[str, str | list[str]] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": str(os.cpu_count()),
        "devices": ["cpu", *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))],
    }
    for name in PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    facts["store"] = str(default_root())
    facts["plugins"] = [
        f"{r.distribution} {r.version}" + (f" ({r.status})" if r.status != "ok" else "") for r in load_plugins().records
    ]
    return facts
