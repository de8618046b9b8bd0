"""The judge of memorised images on made-up training images."""

import math

import numpy as np
import pytest
from PIL import Image

from unlearnbench.api import DataImage, Question, Sample, Target
from unlearnbench_clip.evaluator import Clip
from unlearnbench_memorisation.distance import distances, pixels
from unlearnbench_memorisation.evaluator import Memorisation
from unlearnbench_memorisation.params import MemorisationParams


def picture(seed, size=16):
    noise = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def train(seed, concept=""):
    return DataImage.lazily(lambda: picture(seed), id=f"image-{seed}", concept=concept)


QUESTION = Question(
    concept="seal", kind="object", display="seal", description="a seal", target=Target(id="cat", display="cat"),
    classes={}, images=(train(0, "seal"), train(1, "seal")), others=tuple(train(i) for i in range(2, 8)),
)  # fmt: skip


@pytest.fixture
def judge(monkeypatch):
    monkeypatch.setattr(Clip, "setup", lambda self, ctx: None)

    def make(**params):
        found = Memorisation(MemorisationParams(**({"size": 16} | params)))
        found.setup(None)
        return found

    return make


def samples(*images):
    return [Sample(str(number), image, "the seal") for number, image in enumerate(images)]


def blended(share):
    """Return the training image 0 with a share of another image in it."""
    return Image.blend(picture(0), picture(99), share)


def test_copies_are_told_from_other_images(judge):
    scores = judge().score(samples(picture(0), picture(1), blended(0.1), picture(50), picture(4)), QUESTION)
    assert [score.label for score in scores] == [True, True, True, False, False]
    assert [score.answer.split(":")[0] for score in scores[:3]] == ["image-0", "image-1", "image-0"]
    assert scores[0].distance == 0.0
    assert scores[0].p_yes == 1.0


def test_p_yes_and_label_follow_the_ratio_of_distances(judge):
    shares = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)
    images = [blended(share) for share in shares]
    for ratio in (0.3, 0.7):
        found = judge(ratio=ratio, neighbours=3).score(samples(*images), QUESTION)
        for image, score in zip(images, found, strict=True):
            own, others = (
                [np.asarray(picture(i), dtype=float) / 255 for i in part] for part in (range(2), range(2, 8))
            )
            x = np.asarray(image, dtype=float) / 255
            to_own, to_others = ([math.sqrt(((x - y) ** 2).mean()) for y in part] for part in (own, others))
            d, D = min(to_own), np.mean(sorted(to_others)[:3])
            assert score.distance == pytest.approx(d)
            assert score.p_yes == pytest.approx(1 / (1 + d / D))
            assert score.label == (d < ratio * D)
        assert [s.p_yes for s in found] == sorted((s.p_yes for s in found), reverse=True)


def test_a_plain_picture_on_a_common_background_is_no_copy(judge):
    """Pictures that differ in one corner are near each other; nearness alone makes no copy."""

    def cornered(value):
        image = Image.new("RGB", (16, 16), "white")
        image.paste(value, (0, 0, 4, 4))
        return image

    colours = ["red", "green", "blue", "black", "purple", "orange"]
    known = [DataImage.lazily(lambda c=c: cornered(c), id=c) for c in colours]
    question = QUESTION.model_copy(update={"images": tuple(known[:1]), "others": tuple(known[1:])})
    near, copy = judge().score(samples(cornered("brown"), cornered("red")), question)
    assert near.distance < 0.15
    assert (near.label, copy.label) == (False, True)


def test_another_training_image_is_no_copy_even_without_neighbours(judge):
    (score,) = judge(neighbours=1).score(samples(picture(4)), QUESTION)
    assert (score.label, score.p_yes) == (False, 0.0)
    assert score.distance > 0.1


def test_images_of_other_sizes_are_compared_at_one(judge):
    (score,) = judge(size=8).score(samples(picture(0).resize((64, 64), Image.Resampling.NEAREST)), QUESTION)
    assert score.label
    assert score.distance == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("size", [1, 3, 32])
def test_no_score_depends_on_the_batch_or_the_order(judge, size):
    images = samples(*(blended(number / 32) for number in range(33)))
    whole, turned = judge().score(images, QUESTION), images[::-1]
    parts = [score for start in range(0, 33, size) for score in judge().score(turned[start : start + size], QUESTION)]
    assert parts[::-1] == whole
    assert {score.label for score in whole} == {True, False}


def test_an_unreadable_image_is_unscored_and_its_neighbour_is_not(judge, tmp_path):
    path = tmp_path / "cut.png"
    picture(0).save(path)
    path.write_bytes(path.read_bytes()[:200])
    with Image.open(path) as damaged:
        bad, good = judge().score(samples(damaged, picture(0)), QUESTION)
    assert math.isnan(bad.p_yes)
    assert (bad.label, bad.distance) == (None, None)
    assert good.label


def test_without_other_images_nothing_is_scored(judge):
    (score,) = judge().score(samples(picture(0)), QUESTION.model_copy(update={"others": ()}))
    assert math.isnan(score.p_yes)
    assert "no other training image" in score.answer


def test_a_concept_without_training_images_is_judged_as_by_clip(judge, monkeypatch):
    monkeypatch.setattr(Clip, "score", lambda self, samples, question: ["clip"])
    plain = QUESTION.model_copy(update={"images": (), "others": ()})
    assert judge().score(samples(picture(0)), plain) == ["clip"]


def test_training_images_are_read_once(judge):
    reads = []
    image = DataImage.lazily(lambda: reads.append(1) or picture(0), id="once")
    question = QUESTION.model_copy(update={"images": (image,)})
    found = judge()
    for _ in range(3):
        found.score(samples(picture(0)), question)
    assert len(reads) == 2  # for its digest, and once to compare


def test_distances_are_root_mean_squares_between_0_and_1():
    white, black = (pixels(Image.new("RGB", (4, 4), colour), 2) for colour in ("white", "black"))
    assert distances(white, np.stack([white, black])).tolist() == [0.0, 1.0]
