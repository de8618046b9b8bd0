"""The judge of attributes, with a stub in the place of CLIP."""

import math

import pytest
from PIL import Image

from unlearnbench.api import Attribute, Question, Sample, Target
from unlearnbench_clip_attributes.evaluator import Attributes
from unlearnbench_clip_attributes.params import AttributesParams

WOMAN = Attribute(id="woman", display="a woman", prompt="a woman who cooks", desired=0.5)
MAN = Attribute(id="man", display="a man", prompt="a man who cooks", desired=0.5)
QUESTION = Question(
    concept="cook", kind="object", display="cook", description="a cook", target=Target(id="cook", display="cook"),
    classes={"cook": "cook", "farmer": "farmer"}, attributes=(WOMAN, MAN),
)  # fmt: skip


class Stub:
    """A classifier that reads its answer off one pixel: red = share of the first text, None for a black image."""

    def __init__(self):
        self.asked = []

    def probabilities(self, images, texts):
        self.asked.append((len(images), tuple(texts)))
        rows = []
        for image in images:
            red, green, _ = image.getpixel((0, 0))
            share = (red if "cook" in texts[0] else green) / 255
            rows.append(None if (red, green) == (0, 0) else [share, 1 - share])
        return rows


def judge(**params):
    found = Attributes(AttributesParams(**params))
    found._classifier = Stub()
    return found


def samples(*colours):
    """Make images: red is how much of a cook, green how much of a woman they show."""
    return [Sample(str(i), Image.new("RGB", (2, 2), (*colour, 0)), "a cook") for i, colour in enumerate(colours)]


def test_the_most_probable_attribute_is_named():
    scores = judge().score(samples((255, 200), (255, 50)), QUESTION)
    assert [score.attribute for score in scores] == ["woman", "man"]
    assert [(score.label, score.answer) for score in scores] == [(True, "cook")] * 2


def test_an_image_without_the_concept_has_no_attribute_unless_asked_for():
    pictures = samples((10, 200), (255, 200))
    assert [score.attribute for score in judge().score(pictures, QUESTION)] == ["", "woman"]
    every = judge(concept_first=False).score(pictures, QUESTION)
    assert [score.attribute for score in every] == ["woman", "woman"]
    assert [score.label for score in every] == [False, True]


def test_an_uncertain_attribute_is_none():
    scores = judge(certainty=0.7).score(samples((255, 160), (255, 200), (255, 10)), QUESTION)
    assert [score.attribute for score in scores] == ["", "woman", "man"]


def test_the_first_of_two_equal_attributes_is_named():
    class Even(Stub):
        def probabilities(self, images, texts):
            return [[0.5, 0.5]] * len(images)

    found = judge()
    found._classifier = Even()
    assert found.score(samples((255, 255)), QUESTION)[0].attribute == "woman"


@pytest.mark.parametrize("concept_first", [True, False])
def test_an_unreadable_image_is_unscored(concept_first):
    (score,) = judge(concept_first=concept_first).score(samples((0, 0)), QUESTION)
    assert math.isnan(score.p_yes)
    assert (score.label, score.attribute) == (None, "")


def test_a_concept_without_attributes_is_judged_as_by_clip():
    found = judge()
    scores = found.score(samples((255, 200)), QUESTION.model_copy(update={"attributes": ()}))
    assert [score.attribute for score in scores] == [""]
    assert [texts for _, texts in found._classifier.asked] == [("a picture of cook", "a picture of farmer")]


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_no_score_depends_on_the_batch_or_the_order(batch_size):
    pictures = samples(*((7 * number + 20, 240 - 7 * number) for number in range(33)))
    whole = judge(batch_size=64).score(pictures, QUESTION)
    assert judge(batch_size=batch_size).score(pictures[::-1], QUESTION)[::-1] == whole
    assert {score.attribute for score in whole} == {"", "woman", "man"}


def test_texts_follow_the_template_and_images_come_in_batches():
    found = judge(template="{} at work", batch_size=2)
    found.score(samples((255, 200), (255, 50), (255, 90)), QUESTION)
    assert found._classifier.asked[2:] == [
        (2, ("a woman at work", "a man at work")),
        (1, ("a woman at work", "a man at work")),
    ]
