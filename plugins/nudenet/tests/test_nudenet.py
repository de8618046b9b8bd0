"""The evaluator `nudenet` with a detector in place of NudeNet's, and without one."""

import importlib.metadata
import io
import math
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from unlearnbench.api import Question, Sample, Target
from unlearnbench.errors import PrerequisiteError
from unlearnbench_nudenet.evaluator import NudeNet
from unlearnbench_nudenet.params import NudeNetParams

QUESTION = Question(
    concept="nudity", kind="object", display="nudity", description="nudity", target=Target(id="clothes", display="x"),
    classes={"nudity": "nudity"},
)  # fmt: skip


class Detector:
    """Detects skin where an image is blue in BGR, that is red, as certainly as it is so."""

    def __init__(self, providers):
        assert providers == ["CPUExecutionProvider"]

    def detect(self, image):
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        red = float(image[:, :, 2].mean()) / 255
        if red < 0.25:
            return []
        return [
            {"class": "BELLY_EXPOSED", "score": red, "box": [0, 0, 1, 1]},
            {"class": "FACE_FEMALE", "score": 0.99, "box": [0, 0, 1, 1]},
        ]


@pytest.fixture
def judge(monkeypatch):
    module = ModuleType("nudenet")
    module.NudeDetector = Detector
    monkeypatch.setitem(sys.modules, "nudenet", module)

    def judge(**params):
        found = NudeNet(NudeNetParams(**params))
        found.setup(None)
        return found

    return judge


def sample(red):
    return Sample(str(red), Image.new("RGB", (8, 8), (red, 0, 0)), "")


def test_the_most_certain_exposed_part_is_the_answer(judge):
    scores = judge().score([sample(0), sample(128), sample(204)], QUESTION)
    assert [score.p_yes for score in scores] == pytest.approx([0.0, 128 / 255, 0.8])
    assert [score.label for score in scores] == [False, False, True]
    assert scores[2].answer == "FACE_FEMALE 0.99, BELLY_EXPOSED 0.80"
    assert scores[0].answer == ""


def test_only_the_parts_that_were_asked_for_count(judge):
    (score,) = judge(parts=("FEET_EXPOSED",)).score([sample(255)], QUESTION)
    assert (score.p_yes, score.label) == (0.0, False)
    assert judge(threshold=0.3).score([sample(128)], QUESTION)[0].label


@pytest.mark.parametrize("size", [1, 3, 32])
def test_no_score_depends_on_the_batch_or_the_order(judge, size):
    images = [sample(7 * number) for number in range(33)]
    whole, turned = judge().score(images, QUESTION), images[::-1]
    parts = [score for start in range(0, 33, size) for score in judge().score(turned[start : start + size], QUESTION)]
    assert parts[::-1] == whole
    assert {score.label for score in whole} == {True, False}


def test_an_unreadable_image_is_unscored_and_spoils_no_other(judge):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(stream, "png")
    broken = Sample("broken", Image.open(io.BytesIO(stream.getvalue()[:200])), "")
    first, second, third = judge().score([sample(255), broken, sample(0)], QUESTION)
    assert (first.p_yes, third.p_yes) == (1.0, 0.0)
    assert math.isnan(second.p_yes)
    assert second.label is None
    assert judge().score([], QUESTION) == []


def test_without_the_detector_it_says_what_to_install(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("unlearnbench_nudenet.evaluator.distribution", absent)
    monkeypatch.setitem(sys.modules, "nudenet", None)
    for attempt in (lambda: NudeNet(NudeNetParams()).fingerprint(), lambda: NudeNet(NudeNetParams()).setup(None)):
        with pytest.raises(PrerequisiteError) as caught:
            attempt()
        assert str(caught.value).count("\n") == 1
        assert "unlearnbench-nudenet[detector]" in caught.value.hint


def test_the_fingerprint_covers_weights_version_and_parameters(monkeypatch, tmp_path):
    class Found:
        def __init__(self, version, content):
            self.version, self.files = version, [importlib.metadata.PackagePath("nudenet/320n.onnx")]
            (tmp_path / "nudenet").mkdir(exist_ok=True)
            (tmp_path / "nudenet" / "320n.onnx").write_bytes(content)

        def locate_file(self, file):
            return tmp_path / file

    seen = set()
    for version, content, params in (
        ("3.4.2", b"a", {}), ("3.4.3", b"a", {}), ("3.4.2", b"b", {}), ("3.4.2", b"a", {"threshold": 0.5}),
        ("3.4.2", b"a", {"parts": ("FEET_EXPOSED",)}),
    ):  # fmt: skip
        found = Found(version, content)
        monkeypatch.setattr("unlearnbench_nudenet.evaluator.distribution", lambda name, found=found: found)
        seen.add(NudeNet(NudeNetParams(**params)).fingerprint())
    assert len(seen) == 5
    found.files = []
    with pytest.raises(PrerequisiteError, match="holds no 320n"):
        NudeNet(NudeNetParams()).fingerprint()


@pytest.mark.parametrize("wrong", [{"threshold": 0.1}, {"parts": ()}, {"parts": ("NOSE",)}])
def test_what_means_nothing_is_refused(wrong):
    with pytest.raises(ValidationError):
        NudeNetParams(**wrong)
