"""`unlearnbench calibrate` and `agreement`, on letters that are bright or dark and judges of brightness."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.scoretables import score_table
from unlearnbench.api import ConceptDataset, DataImage
from unlearnbench.calibration.images import choose, digest_of, images_of, read_folder
from unlearnbench.calibration.report import Calibration
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.results.table import write_scores
from unlearnbench.store import Store
from unlearnbench.testing.fakes import Letters

JUDGES = '''
import math
from unlearnbench.api import EvaluatorSpec, hookimpl
from unlearnbench.testing.fakes import Brightness as Base, BrightnessParams

class Inverted(Base):
    """Says yes to dark images."""
    def score(self, samples, question):
        found = super().score(samples, question)
        return [s.model_copy(update={"p_yes": 1 - s.p_yes, "label": not s.label}) for s in found]

class Raising(Base):
    """Cannot be asked about beta."""
    def score(self, samples, question):
        if question.concept == "beta":
            raise RuntimeError("no beta")
        found = super().score(samples, question)
        return [found[0].model_copy(update={"p_yes": math.nan, "label": None}), *found[1:]]

@hookimpl
def unlearnbench_evaluators():
    params = "unlearnbench.testing.fakes:BrightnessParams"
    return [EvaluatorSpec(n, f"unlearnbench_second:{c}", params, n) for n, c in (("inverted", "Inverted"), ("raising", "Raising"))]
'''  # noqa: E501


def paint(folder, grey, count, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        Image.fromarray(np.full((8, 8, 3), (grey, grey, i), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def pictures(tmp_path):
    """Bright alphas, dark betas, and three dark alphas that a judge of brightness misses."""
    paint(tmp_path / "known" / "alpha", 250, 17)
    paint(tmp_path / "known" / "alpha", 20, 3, first=17)
    paint(tmp_path / "known" / "beta", 20, 20, first=20)
    return tmp_path / "known"


@pytest.fixture
def judges(fake, install):
    return install("unlearnbench-second", JUDGES)


# ---------------------------------------------------------------- images
class Overlapping(Letters):
    @property
    def concepts(self):
        known = dict(super().concepts)
        return {**known, "alpha": known["alpha"].model_copy(update={"overlaps": ("gamma",)})}


def test_a_folder_tells_what_its_images_show_and_overlaps_are_left_open(tmp_path):
    for name in ("alpha", "beta+gamma", "omega"):
        paint(tmp_path / name, 100, 2, first=len(name))
    found = {image.id.split("/")[0]: image for image in read_folder(tmp_path, Overlapping())}
    assert {name: (image.shows, image.unsure) for name, image in found.items()} == {
        "alpha": (("alpha",), ("gamma",)),
        "beta+gamma": (("beta", "gamma"), ("alpha",)),
        "omega": ((), ()),
    }
    images = read_folder(tmp_path, Overlapping())
    assert [shown for _, shown in choose(images, "gamma", 100)] == [True, True, False, False]
    assert len(choose(images, "delta", 100)) == 6
    assert len(choose(images, "alpha", 1)) == 2


def test_a_folder_that_nothing_is_called_like_is_a_mistake(tmp_path):
    paint(tmp_path / "alhpa", 1, 1)
    with pytest.raises(UserError, match="unknown concept for the folder") as caught:
        read_folder(tmp_path, Letters())
    assert "alpha" in caught.value.hint


def test_a_damaged_image_is_named(tmp_path):
    paint(tmp_path / "alpha", 1, 1)
    (tmp_path / "alpha" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"0\.png is no image"):
        read_folder(tmp_path, Letters())


def test_a_data_set_may_bring_images_and_most_do_not(tmp_path):
    with pytest.raises(PrerequisiteError, match="brings no images") as caught:
        images_of(Letters(), None)
    assert "--images DIR" in caught.value.hint
    with pytest.raises(PrerequisiteError, match="no folder"):
        images_of(Letters(), tmp_path / "nowhere")

    class Bringing(Letters):
        def images(self, split):
            image = DataImage.lazily(lambda: Image.new("RGB", (2, 2)), id="x", shows=("alpha",))
            return (image,) if split == "calibration" else ()

    assert [image.shows for image in images_of(Bringing(), None)] == [("alpha",)]
    assert ConceptDataset.images(Letters(), "calibration") == ()


def test_parts_are_disjoint_and_the_digest_tells_images_and_truth(tmp_path):
    images = read_folder(paint(tmp_path / "d" / "alpha", 9, 40).parent, Letters())
    one, two = ({image.id for image, _ in choose(images, "alpha", 99, part)} for part in ("1", "2"))
    assert one
    assert two
    assert not one & two
    assert len(one | two) == 40
    truth = choose(images, "alpha", 99)
    assert truth == choose(images[::-1], "alpha", 99)
    assert digest_of(truth) == digest_of(choose(images[::-1], "alpha", 99))
    assert len({digest_of(truth), digest_of(truth[1:]), digest_of(choose(images, "beta", 99))}) == 3


def test_what_an_image_shows_enters_no_key_of_other_images():
    image = DataImage.lazily(lambda: Image.new("RGB", (2, 2)), id="x")
    assert set(image.model_dump()) == {"id", "caption", "concept", "digest"}


# ---------------------------------------------------------------- calibrate
def test_rates_are_measured_stored_and_not_asked_for_again(call, fake, pictures, tmp_path, monkeypatch):
    arguments = ("calibrate", "letters-quick", "--images", pictures, "--store", tmp_path / "s", "-f", "json")
    code, out, err = call(*arguments)
    assert code == 0, err
    found = Calibration.model_validate_json(out)
    (judge,) = found.judges
    rates = {one.concept: (one.sensitivity.value, one.specificity.value) for one in judge.concepts}
    assert rates == {"alpha": (17 / 20, 1.0), "beta": (0.0, 3 / 20)}
    assert {one.concept: one.judgeable for one in judge.concepts} == {"alpha": True, "beta": False}
    entries = [entry for entry in Store(tmp_path / "s").ls() if entry.stage == "calibration"]
    assert len(entries) == 2  # of gamma, which is evaluated too, there is no image
    assert not list(Store(tmp_path / "s").verify())

    import fake_judge

    monkeypatch.setattr(fake_judge.Brightness, "setup", lambda self, ctx: pytest.fail("the answers are stored"))
    assert call(*arguments)[1] == out
    Image.new("RGB", (8, 8)).save(pictures / "alpha" / "0.png")
    with pytest.raises(BaseException, match="the answers are stored"):
        call(*arguments)


def test_a_parameter_makes_another_judge(call, fake, pictures, tmp_path):
    common = ("calibrate", "letters-quick", "--images", pictures, "--store", tmp_path / "s", "-f", "json")
    _, out, _ = call(*common, "-p", "threshold=0.01")
    (judge,) = Calibration.model_validate_json(out).judges
    assert judge.params == {"threshold": 0.01}
    assert {one.concept: one.sensitivity.value for one in judge.concepts} == {"alpha": 1.0, "beta": 1.0}


@pytest.mark.parametrize("form", ["rich", "md", "html"])
def test_every_format_names_what_cannot_be_judged(call, fake, pictures, tmp_path, form):
    code, out, _ = call("calibrate", "letters-quick", "--images", pictures, "-f", form)
    assert code == 0
    assert "NOT JUDGEABLE" in out or ("NOT" in out and "JUDGEABLE" in out)
    assert "alpha" in out


def test_the_page_is_whole_and_draws_each_bin(call, fake, pictures, tmp_path):
    _, out, _ = call("calibrate", "letters-quick", "--images", pictures, "-f", "html")
    assert not re.search(r"(src|href)=", out)
    assert out.count("<svg") == 3  # all concepts, alpha, beta
    for figure in re.findall(r"<svg.*?</svg>", out, re.DOTALL):
        assert figure.count("<circle") == 2
        for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', figure):
            assert 0 < float(x) < 260
            assert 0 < float(y) < 260


def test_best_thresholds_are_written_for_the_judge(call, fake, pictures, tmp_path):
    file = tmp_path / "t.json"
    assert call("calibrate", "letters-quick", "--images", pictures, "--thresholds", file)[0] == 0
    found = json.loads(file.read_text())
    assert set(found) == {"alpha", "beta"}
    assert 0.05 < found["alpha"] < 0.95
    code, _, err = call(
        "calibrate", "letters-quick", "--evaluator", "brightness", "--evaluator", "x", "--thresholds", file
    )
    assert code == 2
    assert len(err.splitlines()) == 2


def test_two_judges_are_compared(call, judges, pictures):
    arguments = (
        "calibrate",
        "letters-quick",
        "--images",
        pictures,
        "--evaluator",
        "brightness",
        "--evaluator",
        "inverted",
    )
    _, out, _ = call(*arguments, "-f", "json")
    found = Calibration.model_validate_json(out)
    assert [judge.judge for judge in found.judges] == ["brightness", "inverted"]
    whole = next(one for one in found.agreement if one.by == "all")
    chance = 2 * 34 * 46 / 80**2  # each of two questions finds 17 of 40 images bright
    assert (whole.n, whole.raw, whole.kappa) == (80, 0.0, pytest.approx(-chance / (1 - chance)))
    assert {one.name for one in found.agreement if one.by == "concept"} == {"alpha", "beta"}
    _, out, _ = call(*arguments, "-f", "md")
    assert "Agreement between judges" in out


def test_a_judge_that_raises_fails_on_its_concept_and_on_no_other(call, judges, pictures, tmp_path):
    store = tmp_path / "s"
    arguments = ("calibrate", "letters-quick", "--images", pictures, "--evaluator", "raising", "--store", store)
    code, out, err = call(*arguments, "-f", "json")
    assert code == 1
    assert "failed: raising beta: RuntimeError: no beta" in err
    alpha, beta = Calibration.model_validate_json(out).judges[0].concepts
    assert (alpha.unscored, alpha.reason) == (1, "")
    assert alpha.sensitivity.n + alpha.specificity.n == 39
    assert (beta.reason, beta.sensitivity.value, beta.judgeable) == ("RuntimeError: no beta", None, None)
    assert len(list((store / "v1" / "failures" / "calibration").iterdir())) == 1
    assert "failed" in call(*arguments)[1]


def test_scores_of_the_judge_are_corrected(call, fake, pictures, tmp_path):
    store = tmp_path / "s"
    assert call("run", "letters-quick", "--method", "shift", "--store", store)[0] == 0
    code, out, _ = call("calibrate", "letters-quick", "--images", pictures, "--store", store, "-f", "json")
    assert code == 0
    (judge,) = Calibration.model_validate_json(out).judges
    assert [one.method for one in judge.corrected_methods] == ["unedited", "prompt-swap", "shift"] or {
        one.method for one in judge.corrected_methods
    } == {"unedited", "prompt-swap", "shift"}
    for one in judge.corrected_methods:
        assert (one.concepts, one.left_out) == (1, ("beta",))
    by_concept = [one for one in judge.corrected if one.concept == "alpha"]
    assert by_concept
    for one in by_concept:
        assert one.value == pytest.approx(min(max(1 - (1 - one.raw) / 0.85, 0), 1))
        assert one.lo <= one.value <= one.hi
    _, out, _ = call("calibrate", "letters-quick", "--images", pictures, "--store", store, "-f", "rich")
    assert "Rogan and Gladen" in out
    # Another threshold is another judge: its scores are not there.
    _, out, _ = call(
        "calibrate", "letters-quick", "--images", pictures, "--store", store, "-f", "json", "-p", "threshold=0.3"
    )
    assert Calibration.model_validate_json(out).judges[0].protocol == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("letters-quick",), 3, "no images of known content"),
        (("letters-quikc",), 2, "letters-quick"),
        (("letters-quick", "--evaluator", "brigthness"), 2, "brightness"),
        (("letters-quick", "-p", "nothing=1"), 2, "nothing"),
        (("letters-quick", "-c", "alhpa"), 2, "alpha"),
    ],
)
def test_mistakes_are_two_lines(call, fake, arguments, code, words):
    found, out, err = call("calibrate", *arguments)
    assert (found, out) == (code, "")
    assert len(err.splitlines()) == 2
    assert words in err


def test_images_of_other_concepts_measure_nothing(call, fake, tmp_path):
    folder = paint(tmp_path / "known" / "delta", 9, 3).parent
    code, _, err = call("calibrate", "letters-quick", "--images", folder)
    assert code == 3
    assert "no image shows a concept" in err


# ---------------------------------------------------------------- agreement
def test_one_run_is_scored_by_two_judges_whose_answers_are_compared(call, judges, tmp_path):
    store = tmp_path / "s"
    assert call("run", "letters-quick", "--method", "shift", "--store", store)[0] == 0
    samples = {entry.key for entry in Store(store).ls() if entry.stage == "sample"}
    code, _, err = call("agreement", "letters-quick", "--store", store)
    assert code == 3
    assert "one judge" in err
    assert call("run", "letters-quick", "--method", "shift", "--store", store, "--evaluator", "inverted")[0] == 0
    assert {entry.key for entry in Store(store).ls() if entry.stage == "sample"} == samples
    code, out, _ = call("agreement", "letters-quick", "--store", store, "-f", "json")
    assert code == 0
    rows = json.loads(out)
    whole = rows[0]
    assert (whole["by"], whole["raw"], whole["unscored"]) == ("all", 0.0, 0)
    scored = sum(1 for entry in Store(store).ls() if entry.stage == "score") / 2
    assert scored * 6 == whole["n"]  # three prompts, two seeds
    assert {row["name"] for row in rows if row["by"] == "method"} == {"unedited", "prompt-swap", "shift"}
    for form in ("rich", "md"):
        assert "kappa" in call("agreement", "letters-quick", "--store", store, "-f", form)[1]
    folders = sorted((store / "v1" / "results").iterdir())
    assert json.loads(call("agreement", *folders, "-f", "json")[1])[0]["n"] == whole["n"]


def test_one_judge_with_two_thresholds_is_two_judges(call, fake, tmp_path):
    store = tmp_path / "s"
    common = ("run", "letters-quick", "--store", store, "--method", "shift")
    assert call(*common)[0] == 0
    assert call(*common, "-p", "brightness.threshold=0.99")[0] == 0
    _, out, _ = call("agreement", "letters-quick", "--store", store, "-f", "json")
    first = json.loads(out)[0]
    assert first["first"].startswith("brightness@")
    assert first["first"] != first["second"]


def test_narrowed_runs_of_one_judge_are_one_judge(call, fake, tmp_path):
    store = tmp_path / "s"
    assert call("run", "letters-quick", "--store", store, "--method", "shift")[0] == 0
    assert call("run", "letters-quick", "--store", store, "--method", "shift", "-c", "alpha")[0] == 0
    code, _, err = call("agreement", "letters-quick", "--store", store)
    assert code == 3
    assert "one judge" in err


def test_judges_without_a_common_image_are_told(call, tmp_path):
    table = score_table(["m"], ["a", "b"], lambda *_: True)
    write_scores(table.assign(sample_key="x"), tmp_path / "one" / "m@0.parquet")
    write_scores(table.assign(sample_key="y", judge="other"), tmp_path / "two" / "m@0.parquet")
    code, _, err = call("agreement", tmp_path / "one", tmp_path / "two" / "m@0.parquet")
    assert code == 3
    assert "no image in common" in err
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize(("source", "code"), [("nowhere.parquet", 2), ("letters-quick", 3), ("lettres-quick", 2)])
def test_sources_that_are_not_there(call, fake, source, code):
    found, _, err = call("agreement", source)
    assert found == code
    assert len(err.splitlines()) == 2
