"""Anchor images: how they are made, kept and read."""

import pytest
import torch
from PIL import Image

from unlearnbench.api import ForgetConcept
from unlearnbench.sampling import sample
from unlearnbench.spec import SamplerSpec
from unlearnbench.testing import edit_context, tiny_model
from unlearnbench_ca import anchors, data
from unlearnbench_ca.anchors import make_images, read_image
from unlearnbench_ca.augment import FAR, NEAR
from unlearnbench_ca.data import Concept, Data
from unlearnbench_ca.params import CAParams
from unlearnbench_ca.prompts import anchor_prompts

CAT = ForgetConcept(id="cat", kind="object", name="cat", target="dog")
PROMPTS = ["a photo of a dog", "a dog", "a red dog"]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def params(**changes):
    return CAParams(**({"images": 7, "image_steps": 2, "batch": 4} | changes))


def test_prompts_take_turns(model, tmp_path):
    found = make_images(model, CAT, PROMPTS, params(), edit_context(0, tmp_path))
    numbers = [number for number, _ in found]
    assert sorted(numbers[:3]) == sorted(numbers[3:6]) == [0, 1, 2]
    assert len({file for _, file in found}) == 7
    assert all(file.is_relative_to(tmp_path) for _, file in found)


def test_fewer_images_than_prompts_are_of_distinct_prompts(model, tmp_path):
    numbers = [n for n, _ in make_images(model, CAT, PROMPTS, params(images=2), edit_context(0, tmp_path))]
    assert len(set(numbers)) == len(numbers) == 2


def test_images_are_those_of_the_harness_sampler(model, tmp_path):
    found = make_images(model, CAT, PROMPTS[:1], params(images=1, exclude_concept=True), edit_context(0, tmp_path))
    seed = int(found[0][1].name.partition("-")[0])
    spec = SamplerSpec(scheduler="dpm++", steps=2, guidance=6.0)
    wanted = sample(model, PROMPTS[:1], [seed], spec, negative_prompt="cat")[0]
    with Image.open(found[0][1]) as image:
        assert image.tobytes() == wanted.tobytes()


def test_images_are_made_once_and_again_for_other_settings(model, tmp_path, monkeypatch):
    made = []

    def counted(model, prompts, *args, **kwargs):
        made.append(len(prompts))
        return sample(model, prompts, *args, **kwargs)

    monkeypatch.setattr(anchors, "sample", counted)
    first = make_images(model, CAT, PROMPTS, params(), edit_context(0, tmp_path))
    assert made == [3, 3, 1]
    assert make_images(model, CAT, PROMPTS, params(), edit_context(0, tmp_path)) == first
    assert made == [3, 3, 1]
    make_images(model, CAT, PROMPTS, params(image_steps=3), edit_context(0, tmp_path))
    assert len(made) == 6
    assert make_images(model, CAT, PROMPTS, params(), edit_context(1, tmp_path)) != first


def test_an_image_is_read_as_it_was_written(tmp_path):
    pixels = [(0, 255, 51), (10, 20, 30), (1, 2, 3), (4, 5, 6), (7, 8, 9), (255, 0, 128)]
    image = Image.new("RGB", (2, 3))
    image.putdata(pixels)
    image.save(tmp_path / "x.png")
    tensor = read_image(tmp_path / "x.png")
    assert tensor.shape == (3, 3, 2)
    assert ((tensor + 1) * 127.5).round().permute(1, 2, 0).reshape(-1, 3).int().tolist() == [list(p) for p in pixels]


def dataset(model, tmp_path, **changes):
    settings = params(**changes)
    prompts = anchor_prompts(CAT, "kind")
    images = make_images(model, CAT, [p.text for p in prompts], settings, edit_context(0, tmp_path))
    return Data(model, [Concept(prompts, images)], settings)


def test_a_batch_pairs_prompts_of_anchor_and_concept(model, tmp_path):
    batch = dataset(model, tmp_path, batch=16, prior_preservation=True).batch(torch.Generator().manual_seed(0))
    assert batch.noisy.latents.shape == batch.noisy.truth.shape == (16, 4, 8, 8)
    assert batch.mask.shape == (16, 1, 8, 8)
    assert [text.replace("dog", "cat") for text in batch.anchors] == list(batch.concepts)
    assert any(text.startswith((*FAR, *NEAR)) for text in batch.anchors)
    assert batch.prior.latents.shape == (16, 4, 8, 8)
    assert set(batch.prior_anchors) <= {p.text for p in anchor_prompts(CAT, "kind")}


def test_without_augmentation_every_image_is_encoded_only_once(model, tmp_path, monkeypatch):
    encoded = []
    plain = data.encode_images

    def counted(model, images):
        encoded.append(len(images))
        return plain(model, images)

    monkeypatch.setattr(data, "encode_images", counted)
    set_ = dataset(model, tmp_path, augment=False, prior_preservation=True)
    for seed in range(6):
        batch = set_.batch(torch.Generator().manual_seed(seed))
    assert sum(encoded) <= 7
    assert bool((batch.mask == 1).all())
    assert set(batch.anchors) <= {p.text for p in anchor_prompts(CAT, "kind")}


def test_concepts_take_turns(model, tmp_path):
    one = dataset(model, tmp_path)
    both = Data(model, [*one.concepts, Concept(anchor_prompts(CAT, "caption"), one.concepts[0].images)], one.params)
    texts = [t for seed in range(10) for t in both.batch(torch.Generator().manual_seed(seed)).concepts]
    captions = sum(text.removesuffix("cat") in ("", *FAR, *NEAR) for text in texts)
    assert 8 < captions < 36
