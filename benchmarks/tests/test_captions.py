"""A user's COCO captions: from a table or the annotation file to a file, and from the file to columns of a board."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
from click.testing import CliRunner

from unlearnbench.captions import read_captions
from unlearnbench.errors import UserError
from unlearnbench.testing import tiny_clip
from unlearnbench_suites.load import coco, main, read_table

ROWS = pd.DataFrame(
    {
        "image_id": [9, 4, 9, 4, 7, 8, 5],
        "id": [30, 20, 10, 40, 50, 60, 70],
        "caption": [
            "a photo of a red house", "a dog  running\nin rain", "a word " * 60, "two dogs", "", "a cat sleeping",
            "a photo of a red house",
        ],
    }
)  # fmt: skip
KEPT = ("a dog running in rain", "a photo of a red house", "a cat sleeping", "a photo of a red house")


def test_each_image_gives_its_first_caption_that_is_not_cut():
    assert coco(ROWS, 100).captions == KEPT
    assert coco(ROWS.sample(frac=1, random_state=0), 100).captions == KEPT  # whatever the order of the rows
    assert coco(ROWS, 2).captions == KEPT[:2]


def test_without_ids_the_order_of_the_table_counts():
    first = ("a photo of a red house", "a dog running in rain", "a cat sleeping", "a photo of a red house")
    assert coco(ROWS.drop(columns="id"), 100).captions == first
    plain = ROWS[["caption"]].assign(evaluation_seed=range(7))
    assert coco(plain, 100).captions == (*first[:2], "two dogs", *first[2:])
    with pytest.raises(UserError, match="1 captions can be used"):
        coco(plain[:1], 100)
    assert coco(plain.assign(caption=[None, *plain["caption"][1:]]), 2).captions == (
        "a dog running in rain",
        "two dogs",
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
def test_the_command_writes_a_file_with_source_licence_and_warning(suffix, tmp_path):
    table, out = tmp_path / f"captions.{suffix}", tmp_path / "my-coco"
    if suffix == "json":
        table.write_text(json.dumps({"info": {}, "images": [], "annotations": ROWS.to_dict("records")}))
    else:
        ROWS.to_csv(table) if suffix == "csv" else ROWS.to_parquet(table)
    result = CliRunner().invoke(main, ["coco", str(table), "-o", str(out), "--limit", "3"])
    assert result.exit_code == 0, result.output
    assert result.output == f"{out / 'coco.yaml'}\n"
    found = read_captions(out / "coco.yaml")
    assert (found.id, found.captions) == ("coco", KEPT[:3])
    head = [line for line in (out / "coco.yaml").read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert all(word in " ".join(head) for word in ("Lin et al.", "ECCV 2014", "CC BY 4.0", "Content warning"))


def test_what_is_no_annotation_file_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "instances.json"
    for content in ("[]", "{}", '{"annotations": [1]}', "no json"):
        path.write_text(content)
        with pytest.raises(UserError, match="is no table"):
            read_table(str(path), ("caption",))
    path.write_text('{"annotations": [{"image_id": 1, "bbox": []}]}')
    result = CliRunner().invoke(main, ["coco", str(path), "-o", str(tmp_path / "out")])
    assert isinstance(result.exception, UserError)
    assert "has no column caption" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_drift_compares_the_images_of_every_method_on_these_captions(tmp_path, fake_plugins, run_unlearnbench):
    """From the table to the board, on a tiny Stable Diffusion and a tiny CLIP."""
    table, clip = tmp_path / "captions.csv", tiny_clip(tmp_path / "clip")
    ROWS.to_csv(table, index=False)
    assert CliRunner().invoke(main, ["coco", str(table), "-o", str(tmp_path / "my-coco")]).exit_code == 0
    asked = ["--set-evaluator", "drift", "-p", f"drift.model={clip}", "--captions", tmp_path / "my-coco" / "coco.yaml"]
    result = run_unlearnbench("run", "letters-quick", "--method", "shift", *asked, "-f", "json")
    assert result.exit_code == 0, result.stderr
    board = json.loads(result.stdout)
    measured = {"caption_clip_score", "caption_kid", "caption_ssim"}  # fid and lpips were not asked for
    assert {c["name"] for c in board["columns"] if c["name"].startswith("caption_")} == measured
    cells = {row["method"]: row["cells"] for row in board["rows"]}
    for name in ("unedited", "prompt-swap"):
        assert cells[name]["caption_ssim"]["value"] == pytest.approx(1.0)
        assert cells[name]["caption_kid"]["value"] == pytest.approx(0.0, abs=1e-12)
    assert cells["unedited"]["caption_clip_score"] == cells["prompt-swap"]["caption_clip_score"]
    shift = cells["shift"]
    assert shift["caption_ssim"]["value"] < 1.0
    assert shift["caption_kid"]["value"] != 0.0
    assert 0.0 <= shift["caption_clip_score"]["value"] <= 100.0
    edits = len(board["forget"])
    assert (shift["caption_ssim"]["n_concepts"], shift["caption_ssim"]["n_images"]) == (edits, edits * len(KEPT))
    assert "coco" not in board["evaluate"]
    assert re.search(r"Captions: 4 of COCO captions, sampling seed 0\.", " ".join(board["notes"]))
    assert run_unlearnbench("leaderboard", "letters-quick", "-f", "md").stdout.count("captions KID") >= 1
