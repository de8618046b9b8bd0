"""`unlearnbench published`: tables of papers, with their sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unlearnbench.cli.leaderboard import write

if TYPE_CHECKING:
    from unlearnbench.published import PublishedTable

FORMATS = ("rich", "md", "csv", "json")


@click.command("published")
@click.argument("name", required=False)
@click.option("--whole", is_flag=True, help="Every row as printed, also where there is one a method.")
@click.option("-f", "--format", "form", type=click.Choice(FORMATS), default="rich", show_default=True, help="Form.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE.")
def published_command(name: str | None, whole: bool, form: str, output: Path | None) -> None:
    """List published tables, or print the one called NAME."""
    from unlearnbench.published import names, table

    if name is None:
        tables = [table(one) for one in names()]
        if form == "json":
            write(json.dumps([one.model_dump(exclude={"rows", "summary"}) for one in tables], indent=2) + "\n", output)
            return
        width = max(len(one.name) for one in tables)
        write("".join(f"{one.name:<{width}}  {one.title} ({one.source.split(',')[0]})\n" for one in tables), output)
        return
    if form == "rich" and output is None:
        from rich.console import Console

        from unlearnbench.render.rich import PublishedView

        console = Console()
        console.print(f"[bold]{table(name).title}[/]\n")
        console.print(PublishedView(table(name), whole=whole))
        return
    write(_text(table(name), form, whole), output)


def _text(table: PublishedTable, form: str, whole: bool) -> str:
    if form == "json":
        return table.model_dump_json(indent=2) + "\n"
    if form == "csv":
        from unlearnbench.render.csv import table_csv

        return table_csv(table, whole=whole)
    from unlearnbench.render import as_text, grids
    from unlearnbench.render.markdown import escape, markdown_table
    from unlearnbench.render.rich import PublishedView
    from unlearnbench.render.text import origin

    if form == "rich":
        return as_text(PublishedView(table, whole=whole))
    lines = [f"### {escape(table.title)}", "", *markdown_table(grids.published_grid(table, whole=whole)), ""]
    return "\n".join([*lines, *(f"- {escape(line)}" for line in origin(table))]) + "\n"
