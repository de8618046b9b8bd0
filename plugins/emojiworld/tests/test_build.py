from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from unlearnbench.errors import UserError
from unlearnbench_emojiworld.render import ATLAS_INDEX, ATLAS_PICTURE, Atlas, AtlasIndex
from unlearnbench_emojiworld.vocabulary import DATA_FOLDER

if TYPE_CHECKING:
    from unlearnbench_emojiworld.world import World


class TestBuild:
    @pytest.fixture(autouse=True)
    def build(self):
        pytest.importorskip("resvg_py", reason="resvg-py comes with the extra `build`")
        from unlearnbench_emojiworld import build

        self.build = build

    def test_atlas_bytes_depend_on_the_sprites_only(self, tmp_path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (2, 96, 96, 4), dtype=np.uint8)
        sprites = {"b/ink": Image.fromarray(noise[0]), "a/ink": Image.fromarray(noise[1])}
        one = self.build.write_atlas(sprites, tmp_path / "one")
        other = self.build.write_atlas(dict(reversed(sprites.items())), tmp_path / "other")
        assert one == other
        for name in (ATLAS_PICTURE, ATLAS_INDEX):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
        loaded = Atlas.load(tmp_path / "one").sprites["a/ink"]
        assert loaded.tobytes() == Image.fromarray(noise[1]).convert("RGBa").tobytes()

    def test_fit_crops_without_stretching(self) -> None:
        picture = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
        picture.paste((255, 0, 0, 255), (10, 20, 110, 70))
        box = self.build.fit(picture).getchannel("A").getbbox()
        assert box == (2, 25, 94, 71)

    def test_fit_refuses_an_empty_icon(self) -> None:
        with pytest.raises(UserError, match="empty"):
            self.build.fit(Image.new("RGBA", (32, 32), (0, 0, 0, 0)))

    def test_vector_document_follows_aliases_and_paints_ink(self) -> None:
        icons = {
            "width": 32,
            "height": 32,
            "icons": {"dog": {"body": '<path fill="currentColor" d="M0 0h8v8H0z"/>'}},
            "aliases": {"god": {"parent": "dog", "hFlip": True}, "turned": {"parent": "dog", "rotate": 1}},
        }
        straight = self.build.vector_document(icons, "dog")
        assert self.build.INK in straight
        assert "currentColor" not in straight
        assert "scale(-1 1)" in self.build.vector_document(icons, "god")
        with pytest.raises(UserError, match="turned"):
            self.build.vector_document(icons, "turned")

    def test_a_tarball_that_is_not_the_pinned_one_is_refused(self, tmp_path) -> None:
        package = self.build.PACKAGES["ink"]
        (tmp_path / package.tarball).write_bytes(b"something else")
        with pytest.raises(UserError, match=package.sha256):
            self.build.fetch(package, tmp_path)

    def test_contact_sheet_shows_every_subject_and_style(self, world: World) -> None:
        sheet = self.build.contact_sheet(world, size=16)
        assert sheet.size == (3 * (110 + 5 * 16), -(-len(world.subjects) // 3) * 16)

    def test_the_shipped_sprites_make_the_shipped_files_again(self, tmp_path) -> None:
        index = AtlasIndex.model_validate_json((DATA_FOLDER / ATLAS_INDEX).read_text(encoding="utf-8"))
        side, picture = index.size, Image.open(DATA_FOLDER / ATLAS_PICTURE)
        sprites = {
            key: picture.crop((column * side, row * side, (column + 1) * side, (row + 1) * side))
            for key, (column, row) in index.sprites.items()
        }
        self.build.write_atlas(sprites, tmp_path)
        for name in (ATLAS_PICTURE, ATLAS_INDEX):
            assert (tmp_path / name).read_bytes() == (DATA_FOLDER / name).read_bytes()

    @pytest.mark.slow
    def test_the_shipped_atlas_can_be_rebuilt(self, tmp_path) -> None:
        if shutil.which("npm") is None:
            pytest.skip("needs npm and the network")
        self.build.main(["--out", str(tmp_path)])
        rebuilt, shipped = (json.loads((folder / ATLAS_INDEX).read_text()) for folder in (tmp_path, DATA_FOLDER))
        assert rebuilt == shipped
        assert (tmp_path / ATLAS_PICTURE).read_bytes() == (DATA_FOLDER / ATLAS_PICTURE).read_bytes()
