"""Turn a user's copy of a published data set into files: `python -m unlearnbench_suites.load i2p FILE -o DIR`.

I2P and UnlearnCanvas become concept files, COCO's captions a file for `run --captions`.

None of these data sets is shipped: their prompts are under licences of their own, and some disturb.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pandas as pd
import yaml

from unlearnbench.api import Concept
from unlearnbench.captions import CaptionSet
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.lint import estimated
from unlearnbench.scaffold.contexts import EDIT
from unlearnbench.words import names
from unlearnbench_suites.datasets import moderation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

I2P = """I2P, inappropriate image prompts: Schramowski et al., Safe Latent Diffusion (CVPR 2023).
Hub id AIML-TUDA/i2p, MIT licence.
Content warning: prompts that people wrote for pictures of violence, nudity, hate and self-harm."""
UNLEARNCANVAS = """UnlearnCanvas: Zhang et al., UnlearnCanvas: Stylized Image Dataset for Enhanced Machine Unlearning
Evaluation in Diffusion Models (NeurIPS 2024).
Hub id OPTML-Group/UnlearnCanvas; its licence is on its page.
Content warning: none."""
COCO = """COCO captions: Lin et al., Microsoft COCO: Common Objects in Context (ECCV 2014).
annotations/captions_val2014.json of cocodataset.org, CC BY 4.0; there is no hub id of its authors.
Content warning: none; people wrote of photographs of everyday scenes, and nobody sifted what they wrote."""


def read_table(source: str, columns: Sequence[str]) -> pd.DataFrame:
    """Read the table of a data set.

    Args:
        source: csv or parquet file, COCO's annotation file (json), or the hub id of a data set with csv or parquet.
        columns: what it must have.

    Raises:
        PrerequisiteError: it is not on this machine and cannot be fetched.
        UserError: it is no table, or a column is missing.
    """
    paths = [Path(source)] if Path(source).is_file() else _fetched(source)
    try:
        parts = [_READERS.get(path.suffix, pd.read_csv)(path) for path in paths]
    except (OSError, ValueError) as error:
        raise UserError(f"{source} is no table: {error}", "name a .csv or .parquet file") from None
    table = pd.concat(parts, ignore_index=True)
    if missing := [name for name in columns if name not in table.columns]:
        has = ", ".join(map(str, table.columns))
        raise UserError(f"{source} has no column {missing[0]}; it has {has}", f"rename its column to {missing[0]}")
    return table


def _annotations(path: Path) -> pd.DataFrame:
    """Read the annotations of a file of COCO: {"annotations": [{"image_id", "id", "caption"}, ...], ...}."""
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it holds no list of annotations")
    return pd.DataFrame(rows)


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {".parquet": pd.read_parquet, ".json": _annotations}


def _fetched(source: str) -> list[Path]:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(source, repo_type="dataset", allow_patterns=["*.csv", "*.parquet"]))
    except (OSError, ValueError, RuntimeError) as error:
        raise PrerequisiteError(
            f"{source} is neither a file nor could it be fetched ({type(error).__name__})",
            "name a .csv or .parquet file",
        ) from None
    found = sorted([*folder.rglob("*.parquet"), *folder.rglob("*.csv")])
    if not found:
        raise UserError(f"{source} holds no csv and no parquet", "name another data set, or a file")
    return found


def i2p(table: pd.DataFrame, category: str, limit: int) -> Concept:
    """Return nudity as I2P asks for it: its prompts of one category in place of the indirect ones.

    Prompts that name the concept, that the text encoder would cut, or that are there twice are left out. The seeds and
    guidance scales of I2P's rows are not used: every row of a board samples alike.

    Args:
        table: with the columns prompt and categories, the latter separated by commas.
        category: such as 'sexual'.
        limit: how many prompts are taken, the first ones.

    Raises:
        UserError: the category has no prompt that can be used.
    """
    base = moderation().concepts["nudity"]
    chosen = table[table["categories"].map(lambda found: category in [part.strip() for part in str(found).split(",")])]
    tokens = estimated()
    texts = [" ".join(str(text).split()) for text in chosen["prompt"]]
    kept = [t for t in dict.fromkeys(texts) if t and names(t, base) is None and tokens.count(t) <= tokens.limit][:limit]
    if not kept:
        raise UserError(f"no prompt of the category {category} can be used", "name a category that the table has")
    prompts = base.prompts.model_copy(
        update={"indirect": tuple(kept), "target_indirect": (base.target.display,) * len(kept)}
    )
    return base.model_copy(update={"prompts": prompts})


def unlearncanvas(table: pd.DataFrame) -> list[Concept]:
    """Return the styles of UnlearnCanvas, each asked for with every object, in the prompts of its paper.

    Its classes of objects are no concepts here: a board compares concepts on equally many prompts of one kind.

    Args:
        table: with the columns style and object; an image a row, or a pair a row.
    """
    styles, objects = (list(dict.fromkeys(map(str, table[column].dropna()))) for column in ("style", "object"))
    return [_style(style, objects) for style in styles]


def _style(style: str, objects: Iterable[str]) -> Concept:
    name = style.replace("_", " ")
    asked = {item: item.replace("_", " ").lower() for item in objects}
    return Concept.model_validate(
        {
            "id": "_".join("".join(ch if ch.isalnum() else " " for ch in name.lower()).split()),
            "kind": "style", "display": f"{name} style", "aliases": [], "description": f"a picture in {name} style",
            "target": {"id": "photo", "display": "photograph"},
            "prompts": {
                "direct": [f"An {item} image in {name} style." for item in asked.values()],
                "target_direct": [f"An {item} image, a photograph." for item in asked.values()],
            },
            "edit": [
                {"prompt": context.format(f"{name} style"), "target": context.format("a photograph")}
                for context in EDIT["style"]
            ],
        }
    )  # fmt: skip


def coco(table: pd.DataFrame, limit: int) -> CaptionSet:
    """Return one caption of each image, that of the lowest `id`; without `id` or `image_id` in the order of the table.

    Captions that the text encoder would cut are left out before the choice, so that an image may have another one. A
    text that two images have is there twice. An `evaluation_seed` is not used: the noise of an image of a board
    follows from sampling seed and place, for every method alike.

    Args:
        table: with the column caption; image_id and id if it has them.
        limit: how many captions are taken, the first ones.

    Raises:
        UserError: fewer than two captions can be used.
    """
    tokens = estimated()
    texts = table["caption"].fillna("").map(lambda text: " ".join(str(text).split()))
    chosen = table.assign(caption=texts)[texts.map(lambda text: text != "" and tokens.count(text) <= tokens.limit)]
    if "id" in chosen.columns:
        chosen = chosen.sort_values("id", kind="stable")
    if "image_id" in chosen.columns:
        chosen = chosen.drop_duplicates("image_id")
    kept = tuple(chosen["caption"][:limit])
    if len(kept) < 2:
        raise UserError(f"{len(kept)} captions can be used, and two is the least", "name a table of more images")
    return CaptionSet(id="coco", display="COCO captions", captions=kept)


@click.group()
def main() -> None:
    """Turn your copy of a published data set into files that runs take."""


_SOURCE = click.argument("source", metavar="FILE|HUB_ID")
_OUTPUT = click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="New folder of what is written.",
)


@main.command("i2p")
@_SOURCE
@_OUTPUT
@click.option("--category", default="sexual", show_default=True, help="Category of I2P.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000), help="Prompts at most.")
def i2p_command(source: str, output: Path, category: str, limit: int) -> None:
    """Write nudity.yaml, which `run i2p --concept-file` takes."""
    write(output, [i2p(read_table(source, ("prompt", "categories")), category, limit)], I2P)


@main.command("unlearncanvas")
@_SOURCE
@_OUTPUT
def unlearncanvas_command(source: str, output: Path) -> None:
    """Write a file for each style; lint the folder, and make a suite of it."""
    write(output, unlearncanvas(read_table(source, ("style", "object"))), UNLEARNCANVAS)


@main.command("coco")
@_SOURCE
@_OUTPUT
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(2, 50_000), help="Captions at most.")
def coco_command(source: str, output: Path, limit: int) -> None:
    """Write coco.yaml, one caption an image, which `run SUITE --set-evaluator drift --captions` takes."""
    write(output, [coco(read_table(source, ("caption",)), limit)], COCO)


def write(folder: Path, contents: Sequence[Concept | CaptionSet], about: str) -> None:
    """Write files into a new folder, each headed by source, licence and warning.

    Raises:
        UserError: the folder is there already.
    """
    if folder.exists():
        raise UserError(f"{folder} is there already", "name a new folder with -o")
    folder.mkdir(parents=True)
    head = "".join(f"# {line}\n" for line in about.splitlines())
    for one in contents:
        content = one.model_dump(mode="json", exclude_defaults=True)
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
        (folder / f"{one.id}.yaml").write_text(head + text, encoding="utf-8")
        click.echo(folder / f"{one.id}.yaml")


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except UserError as error:
        raise SystemExit(str(error)) from None
