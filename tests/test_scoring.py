"""A judge that raises: what it raised on is unscored and counted, everything else keeps its score."""

from __future__ import annotations

import json
import math

import pytest
from PIL import Image

from unlearnbench.api import Question, Score, Target
from unlearnbench.errors import UserError
from unlearnbench.run.scoring import SCORES, run_score
from unlearnbench.run.stages import INDEX
from unlearnbench.store import write_json

IMAGES = 20
CAT = Target(id="cat", display="cat")
DOG = Question(concept="dog", kind="object", display="dog", description="a dog", target=CAT, classes={})


class Judge:
    """Says how bright an image is, and raises on those of some places."""

    def __init__(self, *broken, error=RuntimeError):
        self.broken, self.error, self.asked = broken, error, []

    def score(self, samples, question):
        self.asked.append(len(samples))
        if any(sample.id in self.broken for sample in samples):
            raise self.error("cannot look at this", "look away") if self.error is UserError else self.error("blinded")
        shades = [sample.image.getpixel((0, 0))[0] / 255 for sample in samples]
        return [Score(p_yes=shade, label=shade >= 0.5, answer="bright") for shade in shades]


@pytest.fixture
def samples(tmp_path):
    rows = []
    for number in range(IMAGES):
        name = f"{number}.png"
        Image.new("RGB", (2, 2), (10 * number, 0, 0)).save(tmp_path / name)
        rows.append({"slot": number, "seed": 0, "prompt": "a dog", "file": name})
    write_json(tmp_path / INDEX, {"images": rows})
    return tmp_path


def scored(judge, samples, tmp_path):
    told = run_score(judge, DOG, samples, tmp_path)
    return told, json.loads((tmp_path / SCORES).read_text())["scores"]


def test_a_judge_that_raises_on_one_image_scores_the_other_nineteen(samples, tmp_path):
    judge = Judge("3-0")
    told, rows = scored(judge, samples, tmp_path)
    assert told == "raised on 1 of 20 images, which are unscored: RuntimeError: blinded"
    assert judge.asked == [IMAGES] + [1] * IMAGES
    _, whole = scored(Judge(), samples, tmp_path)
    assert [row for row in rows if row["slot"] != 3] == [row for row in whole if row["slot"] != 3]
    assert rows[3] == {
        "slot": 3, "seed": 0, "p_yes": None, "label": None, "answer": "failed: RuntimeError: blinded"
    }  # fmt: skip


def test_a_judge_that_raises_on_nothing_is_asked_once(samples, tmp_path):
    judge = Judge()
    told, rows = scored(judge, samples, tmp_path)
    assert (told, judge.asked, len(rows)) == ("", [IMAGES], IMAGES)


def test_what_a_judge_raises_on_every_image_is_raised_and_nothing_is_written(samples, tmp_path):
    with pytest.raises(RuntimeError, match="blinded"):
        run_score(Judge(*(f"{number}-0" for number in range(IMAGES))), DOG, samples, tmp_path)
    assert not (tmp_path / SCORES).exists()


def test_an_error_of_the_user_is_about_the_judge_and_not_about_an_image(samples, tmp_path):
    judge = Judge("3-0", error=UserError)
    with pytest.raises(UserError):
        run_score(judge, DOG, samples, tmp_path)
    assert judge.asked == [IMAGES]


def test_a_wrong_number_of_scores_is_an_error(samples, tmp_path):
    judge = Judge()
    judge.score = lambda samples, question: [Score(p_yes=math.nan, label=None)]
    with pytest.raises(ValueError, match="1 scores for 20 images"):
        run_score(judge, DOG, samples, tmp_path)


@pytest.mark.parametrize("every", [False, True])
def test_a_run_counts_what_the_judge_raised_on(fake, call, tmp_path, monkeypatch, every):
    import fake_judge

    asked = fake_judge.Brightness.score

    def score(self, samples, question):
        if any(every or sample.id == "0-0" for sample in samples) and question.concept == "alpha":
            raise RuntimeError("blinded")
        return asked(self, samples, question)

    monkeypatch.setattr(fake_judge.Brightness, "score", score)
    store = ("--store", tmp_path / "s")
    code, _, err = call("run", "letters-quick", "--method", "shift", *store, "--device", "cpu")
    board = json.loads(call("leaderboard", "letters-quick", "-f", "json", *store)[1])
    (row,) = [row for row in board["rows"] if row["method"] == "shift"]
    if every:
        assert code == 1
        assert row["rank"] is None
        assert row["cells"]["forget"]["n_failed"] == 6
        assert "failed: score alpha: RuntimeError: blinded" in err
    else:
        assert code == 0
        assert row["rank"] == 1
        cells = row["cells"]
        assert (cells["forget"]["n_images"], cells["forget"]["n_unscored"], cells["forget"]["n_failed"]) == (11, 1, 0)
        assert (cells["retain"]["n_images"], cells["retain"]["n_unscored"], cells["retain"]["n_failed"]) == (23, 1, 0)
        assert "brightness raised on 1 of 6 images, which are unscored: RuntimeError: blinded: alpha" in err
