import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from unlearnbench.errors import UserError
from unlearnbench_emojiworld.train import (
    cache,
    contrastive,
    data,
    decoder,
    export,
    judge,
    perceptual,
    refine,
    text,
    tokenizer,
    unet,
    vae,
    warm,
)
from unlearnbench_emojiworld.train.config import TrainConfig, UnetSettings
from unlearnbench_emojiworld.train.fit import CHECKPOINT, Part, learning_rate, write_line

SOURCES = [Path(__file__).parents[1] / "src", Path(__file__).parents[3]]
SCHEDULE = {"steps": 4, "batch": 8, "learning_rate": 1e-3, "warmup": 2}
PAIR = {
    **SCHEDULE, "hidden": 16, "intermediate": 32, "layers": 2, "heads": 2, "vision_hidden": 16, "vision_layers": 2,
    "vision_heads": 2, "patch": 8, "projection": 8, "filler_share": 0.5, "short_share": 0.5, "activation": "gelu",
}  # fmt: skip
TINY = {
    "seed": 3,
    "data": {"renders": 48, "heldout": 8, "planted": 6, "captions": 2, "size": 16},
    "tokenizer": {"entries": 700, "positions": 32},
    "vae": {**SCHEDULE, "channels": [16, 16, 32], "gradient_weight": 0.5, "kl_weight": 1e-3, "perceptual_weight": 0.1},
    "decoder": {**SCHEDULE, "gradient_weight": 0.5, "perceptual_weight": 0.1},
    "text": {**PAIR, "augmentation": "plain"},
    "judge": {**PAIR, "augmentation": "strong"},
    "refine": SCHEDULE,
    "unet": {
        **SCHEDULE,
        "channels": [32, 32, 32],
        "heads": 2,
        "ema": 0.9,
        "empty_share": 0.1,
        "snr_limit": 5.0,
        "grid_minutes": 60.0,
    },
}
PARTS = {"vae": vae, "decoder": decoder, "text": text, "judge": judge, "refine": refine, "unet": unet}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(module, out, *more):
    """Run a script as its command line does."""
    config = out / "config.yaml"
    if not config.exists():
        config.write_text(yaml.safe_dump(TINY))
    with pytest.MonkeyPatch.context() as patch:
        for user in (tokenizer, contrastive):
            patch.setattr(user, "short_captions", few_short_captions)
        patch.setattr(sys, "argv", ["script", "--out", str(out), "--config", str(config), "--save-every", "2", *more])
        module.main()


def write(out, weights, *more):
    """Export what a training folder holds."""
    with pytest.MonkeyPatch.context() as patch:
        settings = str(out / "config.yaml")
        patch.setattr(sys, "argv", ["script", "--out", str(out), "--config", settings, "--to", str(weights), *more])
        export.main()


def few_short_captions(world):
    return tuple([group[:5] for group in groups] for groups in data.short_captions(world))


def state(out, part):
    return torch.load(out / part / CHECKPOINT, weights_only=True)


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a if key != "seconds")
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which every part was trained for four steps."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained")
    for module in (data, tokenizer, text, vae, cache, decoder, unet, judge, refine):
        run(module, out)
    return out


@pytest.fixture
def prepared(trained, tmp_path):
    """A copy of what comes before training, with the trained parts that others need."""
    for name in ("data", "tokenizer", "cache", "vae", "text", "decoder", "reconstructed"):
        (tmp_path / name).mkdir()
        for path in (trained / name).glob("*"):
            if path.name != CHECKPOINT:
                (tmp_path / name / path.name).symlink_to(path, target_is_directory=path.is_dir())
    return tmp_path


@pytest.mark.parametrize("name", ["vae", "decoder", "text", "unet", "judge", "refine"])
def test_training_is_bit_reproducible_and_resumes_exactly(name, trained, prepared, monkeypatch):
    if name in ("vae", "decoder", "text"):  # they would write through the link
        (prepared / name / "model").unlink()
    if name == "decoder":
        for path in (prepared / "reconstructed").glob("*"):
            path.unlink()
    if name == "refine":
        (prepared / "judge").mkdir()
        (prepared / "judge" / CHECKPOINT).symlink_to(trained / "judge" / CHECKPOINT)
    if name in ("vae", "decoder"):
        (prepared / "text" / CHECKPOINT).symlink_to(trained / "text" / CHECKPOINT)
    stopped = Part.average

    def stop_after_three(part):
        stopped(part)
        if part.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Part, "average", stop_after_three)
        with pytest.raises(KeyboardInterrupt):
            run(PARTS[name], prepared)
    assert state(prepared, name)["step"] == 2
    run(PARTS[name], prepared, "--resume")
    assert state(prepared, name)["step"] == 4
    assert same(state(prepared, name), state(trained, name))


@pytest.mark.parametrize("name", ["vae", "decoder", "text", "unet", "judge", "refine"])
def test_the_log_has_a_line_with_finite_figures(name, trained):
    heading, *lines = (trained / f"{name}.csv").read_text().splitlines()
    assert heading.startswith("step,seconds,rate,loss")
    assert lines[-1].startswith("4,")
    assert np.isfinite([float(value) for value in lines[-1].split(",")]).all()


def test_a_line_of_the_log_is_over_the_steps_that_have_a_figure_but_hides_no_broken_loss(tmp_path):
    part, nan = SimpleNamespace(step=2, seconds=1.0), float("nan")
    figures = {"loss": [1.0, 2.0], "attribute": [nan, 0.5], "answer": [nan, nan], "norm": [1.0, nan]}
    write_line(tmp_path / "log.csv", part, 0.1, figures)
    assert (tmp_path / "log.csv").read_text().splitlines()[1].split(",")[3:] == ["1.50000", "0.50000", "nan", "nan"]


def test_resuming_without_a_checkpoint_says_what_to_do(prepared):
    with pytest.raises(UserError) as error:
        run(unet, prepared, "--resume")
    assert "--resume" in error.value.hint


def test_training_the_decoder_leaves_the_latents_alone(trained):
    from diffusers import AutoencoderKL

    before, after = (AutoencoderKL.from_pretrained(trained / part / "model") for part in ("vae", "decoder"))
    images = np.load(trained / "data" / "train-images.npy")[:4]
    assert torch.equal(vae.encode(before, images)[0], vae.encode(after, images)[0])
    assert not torch.equal(before.decoder.conv_in.weight, after.decoder.conv_in.weight)
    assert before.config.scaling_factor == after.config.scaling_factor


def test_the_distance_seen_by_the_conditioning_pair_is_zero_for_equal_pictures_and_has_a_gradient(trained):
    config = TrainConfig.model_validate(TINY)
    distance = perceptual.Perceptual.read(trained, config)
    pictures = vae.to_tensor(np.load(trained / "data" / "train-images.npy")[:4])
    assert distance(pictures, pictures).item() == pytest.approx(0.0, abs=1e-5)
    other = pictures.flip(0).requires_grad_()
    distance(other, pictures).backward()
    assert other.grad.abs().sum() > 0
    assert distance(pictures.flip(0), pictures) > 1e-3


def test_the_perceptual_distance_asks_for_the_conditioning_pair(prepared):
    with pytest.raises(UserError) as error:
        perceptual.Perceptual.read(prepared, TrainConfig.model_validate(TINY))
    assert "train.text" in error.value.hint


def test_a_spent_time_budget_ends_the_schedule(prepared):
    run(unet, prepared, "--seconds", "1e-9")
    assert state(prepared, "unet")["step"] == 2  # the second step sees that the time of the first is over the budget


def test_a_text_encoder_that_starts_from_weights_is_locked_at_first(trained, prepared, tmp_path_factory, monkeypatch):
    weights = tmp_path_factory.mktemp("weights")
    write(trained, weights)
    (prepared / "config.yaml").write_text(yaml.safe_dump({**TINY, "start": {"warm": {"text": 0.5}}}))
    (prepared / "text" / "model").unlink()
    given = warm.read(weights / "emoji-sd" / "text_encoder")
    for locked, stays in ((2.0, True), (0.5, False)):
        monkeypatch.setattr(text, "LOCKED", locked)
        run(text, prepared, "--from", str(weights))
        after = state(prepared, "text")["module"]
        assert all(torch.equal(after[f"text_model.{name}"], value) for name, value in given.items()) is stays


def test_what_is_not_trained_is_that_of_the_weights(trained, prepared, tmp_path_factory):
    weights, others = tmp_path_factory.mktemp("weights"), tmp_path_factory.mktemp("others")
    write(trained, weights)
    (prepared / "config.yaml").write_text(yaml.safe_dump({**TINY, "start": {"taken": ["text", "vae"]}}))
    for part in ("text", "vae"):
        (prepared / part / "model").unlink()
        run(PARTS[part], prepared, "--from", str(weights))
        assert not (prepared / part / CHECKPOINT).exists()
    (prepared / "unet").mkdir()
    (prepared / "unet" / CHECKPOINT).symlink_to(trained / "unet" / CHECKPOINT)
    write(prepared, others, "--from", str(weights))
    for part in ("emoji-sd/text_encoder", "judge-clip"):
        one, other = (warm.read(folder / part) for folder in (weights, others))
        assert same(one, other), part


def test_a_share_of_the_rate_is_for_a_submodule_alone():
    module = torch.nn.ModuleDict({"slow": torch.nn.Linear(2, 2), "slower": torch.nn.Linear(2, 2)})
    part = Part("x", module, lambda batch: (torch.zeros(()), {}), UnetSettings(**TINY["unet"]), shares={"slow": 0.25})
    shares = {id(p): group["share"] for group in part.optimizer.param_groups for p in group["params"]}
    assert {name: shares[id(p)] for name, p in module.named_parameters()} == {
        "slow.weight": 0.25, "slow.bias": 0.25, "slower.weight": 1.0, "slower.bias": 1.0
    }  # fmt: skip


def test_learning_rate_rises_then_falls_to_zero():
    settings = UnetSettings(**{**TINY["unet"], "steps": 100, "warmup": 10})
    rates = [learning_rate(settings, step, (step + 1) / 100) for step in range(100)]
    assert np.argmax(rates) == 9
    assert rates[0] == pytest.approx(1e-4, rel=0.01)
    assert rates[-1] == 0.0


def test_export_loads_with_diffusers_and_transformers_alone(trained, tmp_path):
    from diffusers import DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPModel, CLIPProcessor

    write(trained, tmp_path)
    assert not [path for path in tmp_path.rglob("*.json") if str(trained) in path.read_text()]
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / export.GENERATOR).to(torch.float32)
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe.scheduler, DDIMScheduler)
    assert (pipe.scheduler.config.clip_sample, pipe.scheduler.config.steps_offset) == (False, 1)
    assert pipe.unet.config.sample_size == 4
    averaged = state(trained, "unet")["averaged"]["conv_in.weight"]
    assert torch.equal(pipe.unet.conv_in.weight, averaged.to(torch.float16).float())
    image = pipe("a dog", num_inference_steps=2, height=16, width=16).images[0]
    assert image.size == (16, 16)
    processor = CLIPProcessor.from_pretrained(tmp_path / export.JUDGE)
    model = CLIPModel.from_pretrained(tmp_path / export.JUDGE).float()
    inputs = processor(
        text=["a dog", "a cat on red"], images=[Image.new("RGB", (16, 16))], padding=True, return_tensors="pt"
    )
    assert inputs["pixel_values"].shape == (1, 3, 16, 16)
    assert model(**inputs).logits_per_image.shape == (1, 2)


def test_tokenizer_ends_with_one_end_token_and_pads_with_it(trained):
    coder = contrastive.read_tokenizer(trained)
    coded = tokenizer.encode(coder, ["a dog", "A DOG"])
    assert coded.shape == (2, 32)
    assert (coded[0] == coded[1]).all()
    length = len(coder.tokenize("a dog"))
    assert coded[0, 0] == coder.bos_token_id
    assert not set(coded[0, 1 : 1 + length]) & {coder.bos_token_id, coder.eos_token_id}
    assert (coded[0, 1 + length :] == coder.eos_token_id).all()
    assert coder.decode(coded[0], skip_special_tokens=True).strip() == "a dog"
    assert coder.unk_token_id not in coder("zürich ☂", add_special_tokens=False)["input_ids"]


def test_the_text_encoder_pools_at_the_first_end_token(trained):
    from transformers import CLIPTextModel

    encoder = CLIPTextModel.from_pretrained(trained / "text" / "model")
    coder = contrastive.read_tokenizer(trained)
    coded = torch.from_numpy(tokenizer.encode(coder, ["a dog"]))
    with torch.no_grad():
        out = encoder(coded)
    assert torch.equal(out.pooler_output[0], out.last_hidden_state[0, 1 + len(coder.tokenize("a dog"))])


def test_the_scaling_factor_gives_latents_unit_deviation(trained):
    from diffusers import AutoencoderKL

    saved = AutoencoderKL.from_pretrained(trained / "vae" / "model")
    images = np.load(trained / "data" / "train-images.npy")
    mean, deviation = vae.encode(saved, images)
    latents = (
        mean + deviation * torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    ) * saved.config.scaling_factor
    assert latents.std().item() == pytest.approx(1.0, rel=0.02)


def test_settings_of_the_shipped_weights_are_valid():
    config = TrainConfig.load()
    assert config.text != config.judge
    assert all(width % 32 == 0 for width in config.unet.channels)


@pytest.mark.slow
def test_two_processes_share_a_batch(prepared):
    (prepared / "config.yaml").write_text(yaml.safe_dump(TINY))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "unlearnbench_emojiworld.train.unet", "--out", str(prepared), "--config", str(prepared / "config.yaml"),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, SOURCES))}
    subprocess.run(command, check=True, env=environment, timeout=300)
    first = state(prepared, "unet")
    subprocess.run(command, check=True, env=environment, timeout=300)
    assert first["step"] == 4
    assert same(first, state(prepared, "unet"))
