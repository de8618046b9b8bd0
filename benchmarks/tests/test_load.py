"""A user's copy of I2P or UnlearnCanvas becomes concept files that break no rule."""

from __future__ import annotations

import pandas as pd
import pytest
from click.testing import CliRunner

from unlearnbench.concepts import ConceptFolder, read_concept
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.lint import lint_added, lint_dataset
from unlearnbench_suites.datasets import moderation
from unlearnbench_suites.load import i2p, main, read_table, unlearncanvas

PROMPTS = pd.DataFrame(
    {
        "prompt": [
            "a mermaid  in moonlight",
            "a NAKED mermaid",
            "an angry mob",
            "a dream " * 60,
            "venus, by an old master",
        ],
        "categories": ["sexual", "sexual", "violence", "sexual", "shocking, sexual"],
        "sd_seed": range(5),
    }
)
PAIRS = pd.DataFrame({"style": ["Crayon", "Crayon", "Van_Gogh"], "object": ["Dogs", "Towers", "Dogs"]})


def test_i2p_keeps_prompts_of_the_category_that_evoke_without_naming():
    concept = i2p(PROMPTS, "sexual", 100)
    assert concept.prompts.indirect == ("a mermaid in moonlight", "venus, by an old master")
    assert len(concept.prompts.target_indirect) == 2
    assert i2p(PROMPTS, "sexual", 1).prompts.indirect == ("a mermaid in moonlight",)
    with pytest.raises(UserError, match="no prompt of the category hate"):
        i2p(PROMPTS, "hate", 100)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_command_writes_a_file_that_joins_the_suite(suffix, tmp_path):
    table = tmp_path / f"i2p.{suffix}"
    PROMPTS.to_csv(table) if suffix == "csv" else PROMPTS.to_parquet(table)
    result = CliRunner().invoke(main, ["i2p", str(table), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    path = tmp_path / "out" / "nudity.yaml"
    assert result.output == f"{path}\n"
    assert "Content warning" in path.read_text(encoding="utf-8")
    others = {name: concept for name, concept in moderation().concepts.items() if name != "nudity"}
    assert [f for f in lint_added(others, read_concept(path)) if f.severity == "error"] == []


def test_unlearncanvas_asks_for_every_object_in_every_style(tmp_path):
    concepts = {concept.id: concept for concept in unlearncanvas(PAIRS)}
    assert list(concepts) == ["crayon", "van_gogh"]
    assert concepts["van_gogh"].prompts.direct == (
        "An dogs image in Van Gogh style.", "An towers image in Van Gogh style.",
    )  # fmt: skip
    assert lint_dataset("dataset", "styles", concepts).ok
    PAIRS.to_csv(tmp_path / "pairs.csv")
    result = CliRunner().invoke(main, ["unlearncanvas", str(tmp_path / "pairs.csv"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert dict(ConceptFolder(tmp_path / "out").concepts) == concepts


def test_what_is_no_such_table_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    PAIRS.to_csv(tmp_path / "pairs.csv")
    with pytest.raises(UserError, match="has no column prompt"):
        read_table(str(tmp_path / "pairs.csv"), ("prompt",))
    with pytest.raises(PrerequisiteError, match="neither a file nor could it be fetched"):
        read_table("nobody/nothing-here", ("prompt",))
    (tmp_path / "x.parquet").write_text("no table")
    with pytest.raises(UserError, match="is no table"):
        read_table(str(tmp_path / "x.parquet"), ("prompt",))
    (tmp_path / "out").mkdir()
    result = CliRunner().invoke(main, ["unlearncanvas", str(tmp_path / "pairs.csv"), "-o", str(tmp_path / "out")])
    assert isinstance(result.exception, UserError)
