"""`unlearnbench store`: look at what is stored."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import click

from unlearnbench.cli.options import open_store, store_option
from unlearnbench.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path


@click.group("store")
def store_command() -> None:
    """Look at the store of edits, images and scores."""


@store_command.command("path")
@store_option
def path_command(store_root: Path | None) -> None:
    """Print the folder of the store."""
    click.echo(open_store(store_root).root)


@store_command.command("ls")
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls_command(store_root: Path | None, as_json: bool) -> None:
    """List what is stored."""
    rows = list(open_store(store_root).ls())
    if as_json:
        click.echo(
            json.dumps([{"stage": r.stage, "key": r.key, "folder": str(r.folder), "bytes": r.size} for r in rows])
        )
        return
    for row in rows:
        click.echo(f"{row.stage:<11} {row.size / 2**20:8.1f} MB  {row.key}")
    click.echo(f"{len(rows)} entries, {sum(r.size for r in rows) / 2**20:.1f} MB", err=True)


@store_command.command("verify")
@store_option
@click.option("--remove", is_flag=True, help="Remove damaged entries, so that the next run makes them anew.")
def verify_command(store_root: Path | None, remove: bool) -> int:
    """Hash every stored file again; exit 1 if something is damaged."""
    store = open_store(store_root)
    damaged = list(store.verify())
    for damage in damaged:
        click.echo(f"{damage.stage:<11} {damage.key}  {damage.reason}")
        if remove:
            shutil.rmtree(damage.folder)
    total = sum(1 for _ in store.ls())
    click.echo(f"{total} entries, {len(damaged)} damaged{' and removed' if remove and damaged else ''}", err=True)
    return ExitCode.FAILED if damaged and not remove else ExitCode.OK
