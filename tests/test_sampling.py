"""Sampling: agreement with diffusers' pipeline, seeds, batches, schedulers, arithmetic."""

import numpy as np
import pytest
import torch

from unlearnbench.errors import UserError
from unlearnbench.model import load_model
from unlearnbench.sampling import initial_noise, latent_side, sample
from unlearnbench.spec import ModelSpec, SamplerSpec
from unlearnbench.testing import tiny_model

SCHEDULERS = ("ddim", "dpm++", "lms", "pndm", "euler")
PROMPTS = ["a photo of a dog", "a red house", "", "a photo of a dog"]
FAST = SamplerSpec(steps=4)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def arrays(images):
    return np.stack([np.asarray(image) for image in images]).astype(int)


def test_images_are_rgb_of_the_models_size_prompt_by_prompt(model):
    images = sample(model, PROMPTS, [3, 5, 7], FAST)
    assert len(images) == 12
    assert {(image.mode, image.size) for image in images} == {("RGB", (16, 16))}
    alone = sample(model, PROMPTS[:2], [5], FAST)
    assert np.abs(arrays(alone) - arrays([images[1], images[4]])).max() <= 1
    assert arrays(images).std() > 10


@pytest.mark.parametrize("guidance", [7.5, 1.0, 0.0])
def test_ddim_agrees_with_the_pipeline(model, guidance):
    noise = torch.stack([initial_noise(seed, 0, 4, 8) for seed in (0, 7)])
    model.pipe.set_progress_bar_config(disable=True)
    expected = model.pipe(
        ["a photo of a dog"] * 2, num_inference_steps=6, guidance_scale=guidance, latents=noise, height=16, width=16
    ).images
    images = sample(model, ["a photo of a dog"], [0, 7], SamplerSpec(steps=6, guidance=guidance))
    assert np.abs(arrays(images) - arrays(expected)).max() <= 1


def test_the_negative_prompt_agrees_with_the_pipeline(model):
    model.pipe.set_progress_bar_config(disable=True)
    expected = model.pipe(
        "a photo of a dog",
        negative_prompt="a red house",
        num_inference_steps=6,
        latents=initial_noise(0, 0, 4, 8)[None],
        height=16,
        width=16,
    ).images
    images = sample(model, ["a photo of a dog"], [0], SamplerSpec(steps=6), negative_prompt="a red house")
    assert np.abs(arrays(images) - arrays(expected)).max() <= 1
    plain = sample(model, ["a photo of a dog"], [0], SamplerSpec(steps=6))
    assert not np.array_equal(arrays(images), arrays(plain))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_batches_change_nothing(model, scheduler):
    spec = SamplerSpec(scheduler=scheduler, steps=4)
    whole = arrays(sample(model, PROMPTS, [0], spec))
    assert np.array_equal(whole, arrays(sample(model, PROMPTS, [0], spec)))
    assert np.abs(whole - arrays(sample(model, PROMPTS, [0], spec, batch_size=3))).max() <= 1


def with_scheduler(model, monkeypatch, **config):
    """Give the model another training schedule."""
    from diffusers import DDIMScheduler

    base = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
    monkeypatch.setattr(model, "scheduler", DDIMScheduler(**base, **config))


def by_scheduler(model, **spec):
    return {name: arrays(sample(model, PROMPTS[:1], [0], SamplerSpec(scheduler=name, **spec))) for name in SCHEDULERS}


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_schedulers_solve_the_same_equation(model, monkeypatch, prediction_type):
    with_scheduler(model, monkeypatch, prediction_type=prediction_type)
    images = by_scheduler(model, steps=20, guidance=1.0)
    for image in images.values():
        assert np.abs(image - images["ddim"]).mean() < 5


def test_the_prediction_type_is_the_models(model, monkeypatch):
    noise = arrays(sample(model, PROMPTS, [0], FAST))
    with_scheduler(model, monkeypatch, prediction_type="v_prediction")
    assert np.abs(arrays(sample(model, PROMPTS, [0], FAST)) - noise).mean() > 10


def test_the_scheduler_depends_on_the_noise_schedule_alone(model, monkeypatch):
    """What else a checkpoint's scheduler configuration says differs between the libraries that saved it."""
    expected = by_scheduler(model, steps=3)
    with_scheduler(model, monkeypatch, timestep_spacing="trailing", steps_offset=3, set_alpha_to_one=True)
    for name, images in by_scheduler(model, steps=3).items():
        assert np.array_equal(images, expected[name])


def test_a_zero_snr_model_is_sampled_or_refused(model, monkeypatch):
    with_scheduler(model, monkeypatch, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    images = [arrays(sample(model, PROMPTS[:1], [0], SamplerSpec(scheduler=n, steps=20))) for n in ("ddim", "euler")]
    assert np.abs(images[0] - images[1]).mean() < 5
    with pytest.raises(UserError, match="lms"):
        sample(model, PROMPTS[:1], [0], SamplerSpec(scheduler="lms", steps=4))


# ---------------------------------------------------------------- seeds
def test_noise_depends_on_seed_and_place_alone():
    noise = initial_noise(3, 1, 4, 8)
    assert noise.shape == (4, 8, 8)
    assert noise.dtype == torch.float32
    assert torch.equal(noise, initial_noise(3, 1, 4, 8))
    assert not torch.equal(noise, initial_noise(3, 2, 4, 8))
    assert not torch.equal(noise, initial_noise(4, 1, 4, 8))
    many = torch.stack([initial_noise(seed, slot, 4, 8) for seed in range(20) for slot in range(20)])
    assert abs(many.mean()) < 0.01
    assert abs(many.std() - 1) < 0.01


def test_swapped_prompts_pair_image_by_image(model):
    """With equal words at one place, that image is the same, whatever the other prompts are."""
    one = arrays(sample(model, ["a dog", "a red house"], [0, 1], FAST))
    other = arrays(sample(model, ["a cat", "a red house"], [0, 1], FAST))
    assert np.array_equal(one[2:], other[2:])
    assert not np.array_equal(one[:2], other[:2])


def test_the_global_random_state_is_neither_used_nor_touched(model):
    state = torch.get_rng_state()
    first = arrays(sample(model, PROMPTS, [0], FAST))
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)
    assert np.array_equal(arrays(sample(model, PROMPTS, [0], FAST)), first)


# ---------------------------------------------------------------- cost
def test_guidance_is_one_unet_call_a_step_and_prompts_are_encoded_once(model):
    rows, encoded = [], []
    hooks = [
        model.unet.register_forward_pre_hook(lambda _module, args: rows.append(len(args[0]))),
        model.text_encoder.register_forward_pre_hook(lambda _module, args: encoded.append(len(args[0]))),
    ]
    done = []
    try:
        sample(model, PROMPTS, [0, 1], FAST, batch_size=6, on_batch=done.append)
        assert rows == [12] * 4 + [4] * 4
        assert encoded == [3]  # "", and two different prompts
        assert done == [6, 2]
        rows.clear()
        sample(model, PROMPTS, [0], SamplerSpec(steps=2, guidance=1.0))
        assert rows == [4, 4]
    finally:
        for hook in hooks:
            hook.remove()


# ---------------------------------------------------------------- arithmetic and size
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_reduced_precision_gives_nearly_the_same_image(model, dtype):
    exact = arrays(sample(model, PROMPTS, [0], FAST))
    reduced = arrays(sample(model, PROMPTS, [0], FAST.model_copy(update={"dtype": dtype})))
    assert 0 < np.abs(exact - reduced).mean() < 8


def test_a_model_in_reduced_precision_samples_in_it_and_refuses_to_pretend(model, tmp_path):
    model.save(tmp_path)
    reduced = load_model(ModelSpec(id="tiny"), tmp_path, dtype="bfloat16")
    for dtype in (None, "bfloat16"):
        images = arrays(sample(reduced, PROMPTS, [0], FAST.model_copy(update={"dtype": dtype})))
        assert 0 < np.abs(arrays(sample(model, PROMPTS, [0], FAST)) - images).mean() < 8
    with pytest.raises(ValueError, match="load it in float32"):
        sample(reduced, ["a dog"], [0], SamplerSpec(steps=4, dtype="float32"))


def test_the_size_is_the_models_own_or_the_specs(model):
    assert latent_side(model, FAST) == 8
    assert sample(model, ["a dog"], [0], SamplerSpec(steps=2, size=24))[0].size == (24, 24)
    with pytest.raises(UserError, match="compresses by 2") as caught:
        sample(model, ["a dog"], [0], SamplerSpec(steps=2, size=25))
    assert "16" in caught.value.hint


def test_large_images_are_decoded_in_parts(model, monkeypatch):
    parts = []
    decode = model.vae.decode
    monkeypatch.setattr(model.vae, "decode", lambda z, **options: (parts.append(len(z)), decode(z, **options))[1])
    whole = sample(model, ["a dog"], [0, 1, 2], FAST)
    monkeypatch.setattr("unlearnbench.sampling._DECODED_PIXELS", 2 * 16 * 16)
    split = sample(model, ["a dog"], [0, 1, 2], FAST)
    assert parts == [3, 2, 1]
    assert np.abs(arrays(whole) - arrays(split)).max() <= 1


def test_a_broken_model_makes_no_image():
    model = tiny_model()
    model.apply({"unet.conv_out.bias": torch.full((4,), float("nan"))})
    with pytest.raises(FloatingPointError, match="NaN"):
        sample(model, ["a dog"], [0], FAST)
