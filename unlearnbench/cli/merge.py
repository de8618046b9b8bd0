"""`unlearnbench merge`: the results of several machines in one store."""

from __future__ import annotations

from pathlib import Path

import click

from unlearnbench.cli.options import open_store, store_option
from unlearnbench.errors import ExitCode


@click.command("merge")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SOURCE...")
@store_option
def merge_command(sources: tuple[Path, ...], store_root: Path | None) -> int:
    """Add everything of the SOURCEs to the store.

    A SOURCE is another store, a folder v1/results/<protocol> of one, or a scores table in such a folder.
    """
    from unlearnbench.results.merge import merge

    store = open_store(store_root)
    done = merge(sources, store)
    click.echo(
        f"{done.entries} entries added, {done.known} were there; {done.rows} rows merged into {store.root}", err=True
    )
    for key in done.damaged:
        click.echo(f"left behind, as it is damaged: {key}", err=True)
    return ExitCode.FAILED if done.damaged else ExitCode.OK
