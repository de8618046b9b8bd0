"""Build the sprite atlas of EmojiWorld from five npm packages: `python -m unlearnbench_emojiworld.build`.

The packages are fetched with `npm pack` at pinned versions and checked against pinned digests; every subject of
`data/vocabulary.yaml` is rendered once per style, cropped to what is drawn and fitted into a square of 96 px. Only the
atlas is shipped. Building needs `npm` on the path and `resvg-py`; using the world needs neither.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image, ImageDraw

from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench_emojiworld.render import ATLAS_INDEX, ATLAS_PICTURE, SPRITE_SIZE, AtlasIndex
from unlearnbench_emojiworld.vocabulary import Vocabulary
from unlearnbench_emojiworld.world import World, rng_for

INK = "#161616"
VECTOR_SIZE = 384
MARGIN = 2
COLUMNS = 20


@dataclass(frozen=True)
class Package:
    """One npm package: its pinned version and the SHA-256 of the tarball the registry serves."""

    name: str
    version: str
    sha256: str

    @property
    def tarball(self) -> str:
        """Return the file name `npm pack` gives the tarball."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


PACKAGES: dict[str, Package] = {
    "clay": Package(
        "@lobehub/fluent-emoji-3d", "1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"
    ),
    "flat": Package(
        "@iconify-json/fluent-emoji-flat", "1.2.6", "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"
    ),
    "ink": Package(
        "@iconify-json/fluent-emoji-high-contrast",
        "1.2.6",
        "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
    ),
    "cartoon": Package(
        "@iconify-json/noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"
    ),
    "sticker": Package(
        "@iconify-json/twemoji", "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7"
    ),
}


def fetch(package: Package, folder: Path) -> Path:
    """Return the tarball of a package, downloading it with `npm pack` unless the folder already holds it.

    Raises PrerequisiteError when npm is missing or fails, UserError when the tarball is not the pinned one.
    """
    tarball = folder / package.tarball
    if not tarball.exists():
        try:
            subprocess.run(
                ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
                cwd=folder,
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise PrerequisiteError(
                f"npm could not download {package.name}@{package.version}: {error}",
                f"check that `npm view {package.name} version` works, or pass --packages DIR with {package.tarball}",
            ) from error
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise UserError(
            f"{package.tarball} has the SHA-256 {digest}, not the pinned {package.sha256}",
            "delete the file and build again",
        )
    return tarball


def member(tarball: tarfile.TarFile, path: str) -> bytes | None:
    """Return the bytes of `package/{path}` in a tarball, or None when it is not there."""
    try:
        file = tarball.extractfile(f"package/{path}")
    except KeyError:
        return None
    return None if file is None else file.read()


def parse(tarball: tarfile.TarFile, path: str) -> dict[str, Any]:
    """Return the JSON object stored as `package/{path}`."""
    content = member(tarball, path)
    if content is None:
        raise UserError(f"a tarball has no {path}", "delete the file and build again")
    parsed: dict[str, Any] = json.loads(content)
    return parsed


def vector_document(icons: dict[str, Any], name: str) -> str:
    """Return a complete SVG document for an icon of an iconify set, following aliases; near black for currentColor."""
    entry = dict(icons["icons"].get(name) or icons["aliases"][name])
    flipped = False
    while "parent" in entry:
        if set(entry) - {"parent", "hFlip"}:
            raise UserError(f"the alias {name!r} changes {sorted(entry)}", "choose another sprite for the subject")
        flipped ^= bool(entry.get("hFlip", False))
        parent = entry["parent"]
        entry = dict(icons["icons"].get(parent) or icons["aliases"][parent])
    left, top = entry.get("left", 0), entry.get("top", 0)
    width, height = entry.get("width", icons.get("width", 16)), entry.get("height", icons.get("height", 16))
    body = str(entry["body"]).replace("currentColor", INK)
    if flipped:
        body = f'<g transform="translate({2 * left + width} 0) scale(-1 1)">{body}</g>'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{body}</svg>'
    )


def code_points(characters: dict[str, str]) -> dict[str, list[str]]:
    """Invert a `chars.json`: icon name to the code-point strings that stand for it, in sorted order."""
    inverse: dict[str, list[str]] = {}
    for code, name in sorted(characters.items()):
        inverse.setdefault(name, []).append(code)
    return inverse


def fit(picture: Image.Image) -> Image.Image:
    """Crop to the drawn area and fit it, centred and undistorted, into the sprite square [96, 96] RGBA."""
    picture = picture.convert("RGBA")
    box = picture.getchannel("A").point(lambda value: 255 if value > 24 else 0).getbbox()
    if box is None:
        raise UserError("an icon is empty", "choose another sprite for the subject")
    drawn = picture.crop(box)
    room = SPRITE_SIZE - 2 * MARGIN
    ratio = room / max(drawn.size)
    size = (max(1, round(drawn.width * ratio)), max(1, round(drawn.height * ratio)))
    # Resampling premultiplied colours keeps the invisible colour of transparent pixels out of the edges.
    drawn = drawn.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    sprite = Image.new("RGBA", (SPRITE_SIZE, SPRITE_SIZE), (0, 0, 0, 0))
    sprite.paste(drawn, ((SPRITE_SIZE - size[0]) // 2, (SPRITE_SIZE - size[1]) // 2))
    return sprite


def draw_sprites(vocabulary: Vocabulary, folder: Path) -> dict[str, Image.Image]:
    """Return every sprite, keyed `subject/style` or `subject-attribute/style`, from the tarballs in a folder."""
    wanted = {name: icon for subject in vocabulary.subjects.values() for name, icon in subject.sprites.items()}
    sprites: dict[str, Image.Image] = {}
    codes: dict[str, list[str]] = {}
    for style, package in PACKAGES.items():
        if style == "clay":
            continue
        with tarfile.open(fetch(package, folder)) as tarball:
            icons = parse(tarball, "icons.json")
            if style == "cartoon":
                codes = code_points(parse(tarball, "chars.json"))
        for name, icon in wanted.items():
            document = vector_document(icons, icon)
            rendered = bytes(resvg_py.svg_to_bytes(svg_string=document, height=VECTOR_SIZE))
            sprites[f"{name}/{style}"] = fit(Image.open(io.BytesIO(rendered)))
    with tarfile.open(fetch(PACKAGES["clay"], folder)) as tarball:
        for name, icon in wanted.items():
            files = [f"assets/{code}{end}.webp" for code in codes[icon] for end in ("", "-fe0f")]
            found = next((content for content in (member(tarball, file) for file in files) if content), None)
            if found is None:
                raise UserError(f"the clay set has none of {files}", f"choose another sprite for {name}")
            sprites[f"{name}/clay"] = fit(Image.open(io.BytesIO(found)))
    return sprites


def write_atlas(sprites: dict[str, Image.Image], folder: Path) -> str:
    """Write sprites.png and sprites.json into a folder; return the SHA-256 of the picture's bytes."""
    keys = sorted(sprites)
    rows = -(-len(keys) // COLUMNS)
    atlas = Image.new("RGBA", (COLUMNS * SPRITE_SIZE, rows * SPRITE_SIZE), (0, 0, 0, 0))
    places = {key: (index % COLUMNS, index // COLUMNS) for index, key in enumerate(keys)}
    for key, (column, row) in places.items():
        atlas.paste(sprites[key], (column * SPRITE_SIZE, row * SPRITE_SIZE))
    pixels = np.asarray(atlas).copy()
    pixels[pixels[..., 3] == 0] = 0
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, format="PNG", optimize=True)
    index = AtlasIndex(
        size=SPRITE_SIZE,
        pixels_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        sources={style: f"{package.name}@{package.version}" for style, package in PACKAGES.items()},
        sprites=places,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ATLAS_PICTURE).write_bytes(buffer.getvalue())
    (folder / ATLAS_INDEX).write_text(index.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def contact_sheet(world: World, size: int = 64) -> Image.Image:
    """Draw every subject (a row in one of three blocks) in every style, the background changing cell by cell."""
    subjects, styles, backgrounds = list(world.subjects), list(world.styles), list(world.backgrounds)
    label, blocks = 110, 3
    per_block = -(-len(subjects) // blocks)
    width = label + len(styles) * size
    sheet = Image.new("RGB", (blocks * width, per_block * size), "white")
    pen = ImageDraw.Draw(sheet)
    for number, subject in enumerate(subjects):
        left, top = number // per_block * width, number % per_block * size
        pen.text((left + 4, top + size // 2 - 6), subject, fill="black")
        for column, style in enumerate(styles):
            background = backgrounds[(number + 3 * column) % len(backgrounds)]
            pixels = world.render(subject, style, background, rng_for("heldout", number * 8 + column), size=size)
            sheet.paste(Image.fromarray(pixels), (left + label + column * size, top))
    return sheet


def main(arguments: list[str] | None = None) -> None:
    """Build the atlas, or draw the contact sheet of the atlas that is already there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, help="folder with the npm tarballs (default: download them)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="where the atlas is written")
    parser.add_argument("--contact-sheet", type=Path, help="write subjects x styles as a PNG and build nothing")
    options = parser.parse_args(arguments)
    if options.contact_sheet is not None:
        contact_sheet(World.load()).save(options.contact_sheet)
        print(f"contact sheet: {options.contact_sheet}")
        return
    vocabulary = Vocabulary.load()
    with tempfile.TemporaryDirectory() as scratch:
        sprites = draw_sprites(vocabulary, options.packages or Path(scratch))
    print(f"{len(sprites)} sprites, sha256 of {ATLAS_PICTURE}: {write_atlas(sprites, options.out)}")


if __name__ == "__main__":
    main()
