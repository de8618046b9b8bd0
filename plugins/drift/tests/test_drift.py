"""The set evaluator `drift`: its formulas against small oracles, its identity, bad input, and its extras."""

import io
import json
import logging
import math
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.linalg import sqrtm

from unlearnbench.api import Question, Sample, Target
from unlearnbench.errors import PrerequisiteError
from unlearnbench.testing import tiny_clip
from unlearnbench_drift import sets
from unlearnbench_drift.evaluator import Drift
from unlearnbench_drift.params import DriftParams
from unlearnbench_drift.pixels import is_blank, mse, pixels, ssim
from unlearnbench_drift.sets import diversity, frechet, kid

QUESTION = Question(
    concept="dog", kind="object", display="a dog", description="a dog", target=Target(id="cat", display="a cat"),
    classes={"dog": "a dog", "cat": "a cat"},
)  # fmt: skip
PROMPTS = ("a dog", "a cat in the sun", "two birds")


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def noise(seed, n=6, size=20):
    values = np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return [Sample(f"{i}-0", Image.fromarray(array), PROMPTS[i % 3]) for i, array in enumerate(values)]


def damaged():
    stream = io.BytesIO()
    noise(0)[0].image.save(stream, "png")
    return Sample("broken", Image.open(io.BytesIO(stream.getvalue()[:200])), "a dog")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("clip"))


def ready(folder, **params):
    judge = Drift(DriftParams(model=str(folder), **params))
    judge.setup(SimpleNamespace(device=torch.device("cpu"), log=logging.getLogger("test")))
    return judge


# ---------------------------------------------------------------- pixels
def slow_ssim(one, other):
    """Return SSIM by a loop over windows, as equation 13 is written."""
    places = np.arange(11) - 5
    window = np.exp(-(places**2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    values = []
    for channel in range(3):
        for y in range(one.shape[0] - 10):
            for x in range(one.shape[1] - 10):
                a, b = (image[y : y + 11, x : x + 11, channel] for image in (one, other))
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
                cov = (window * (a - mean_a) * (b - mean_b)).sum()
                values.append(
                    (2 * mean_a * mean_b + 1e-4) * (2 * cov + 9e-4)
                    / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))
                )  # fmt: skip
    return np.mean(values)


@pytest.mark.parametrize("strength", [0.0, 0.1, 1.0])
def test_ssim_is_equation_13(strength):
    random = np.random.default_rng(1)
    one = random.random((16, 14, 3))
    other = (1 - strength) * one + strength * random.random((16, 14, 3))
    assert ssim(one, other) == pytest.approx(slow_ssim(one, other), abs=1e-9)
    assert ssim(one, one) == pytest.approx(1.0)
    assert ssim(one, other) == pytest.approx(ssim(other, one))


@given(arrays(np.float64, (2, 12, 13, 3), elements=st.floats(0, 1)))
@settings(max_examples=30, deadline=None)
def test_ssim_and_mse_lie_in_their_ranges(images):
    assert -1.0 - 1e-9 <= ssim(*images) <= 1.0 + 1e-9
    assert 0.0 <= mse(*images) <= 1.0


def test_images_of_other_sizes_are_not_compared():
    with pytest.raises(ValueError, match="one size from 11 pixels"):
        ssim(np.zeros((12, 12, 3)), np.zeros((12, 13, 3)))
    with pytest.raises(ValueError, match="one size from 11 pixels"):
        ssim(np.zeros((10, 12, 3)), np.zeros((10, 12, 3)))


def test_blank_images_are_of_one_colour():
    red = pixels(Image.new("RGB", (16, 16), (200, 10, 0)))
    assert is_blank(red, 0.0)
    speck = red.copy()
    speck[:8] += 0.05
    assert is_blank(speck, 0.025 + 1e-9)
    assert not is_blank(speck, 0.02)
    assert not is_blank(pixels(noise(0)[0].image), 0.02)


# ---------------------------------------------------------------- sets
def test_kid_is_the_sum_over_pairs_of_pairs():
    x, y = (unit(np.random.default_rng(seed).normal(size=(5, 4))) for seed in (1, 2))
    total = 0.0
    for i in range(5):
        for j in range(5):
            if i != j:
                k = [(a @ b + 1) ** 3 for a, b in ((x[i], x[j]), (y[i], y[j]), (x[i], y[j]), (x[j], y[i]))]
                total += k[0] + k[1] - k[2] - k[3]
    assert kid(x, y) == pytest.approx(total / 20)
    assert kid(x, x) == pytest.approx(0.0, abs=1e-12)
    assert kid(x, y) == pytest.approx(kid(y, x))
    assert math.isnan(kid(x[:1], y[:1]))


def test_kid_has_no_bias_for_paired_sets_and_sees_a_shift():
    random = np.random.default_rng(3)
    same, shifted = [], []
    for _ in range(1500):
        base = random.normal(size=(8, 6))
        x, y = (unit(base + random.normal(size=(8, 6))) for _ in range(2))  # of the same noise, and one distribution
        same.append(kid(x, y))
        shifted.append(kid(unit(base + 1.0), unit(base)))
    assert abs(np.mean(same)) <= 4 * np.std(same) / math.sqrt(len(same))
    assert min(np.mean(shifted), 1.0) > 0.1


def test_diversity_is_the_mean_over_pairs():
    x = unit(np.random.default_rng(4).normal(size=(5, 3)))
    pairs = [1 - x[i] @ x[j] for i in range(5) for j in range(i)]
    assert diversity(x) == pytest.approx(np.mean(pairs))
    assert diversity(np.repeat(x[:1], 4, axis=0)) == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(diversity(x[:1]))


def test_the_kernel_distance_does_not_depend_on_how_many_rows_are_taken_at_a_time(monkeypatch):
    random = np.random.default_rng(6)
    x, y = unit(random.normal(size=(17, 5))), unit(random.normal(size=(17, 5)))
    whole = kid(x, y)
    monkeypatch.setattr(sets, "ROWS", 7)
    assert kid(x, y) == pytest.approx(whole, abs=1e-12)
    assert kid(x, x) == 0.0


@pytest.mark.parametrize("n", [3, 40])
def test_the_frechet_distance_is_that_of_the_formula_with_a_matrix_root(n):
    random = np.random.default_rng(5)
    x, y = random.normal(size=(n, 4)), random.normal(size=(n, 4)) @ random.normal(size=(4, 4)) + 1.0
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet(x, x) == pytest.approx(0.0, abs=1e-9)
    assert math.isnan(frechet(x[:1], y[:1]))


# ---------------------------------------------------------------- the evaluator
def test_features_and_prompts_are_those_of_the_whole_model(folder):
    from transformers import CLIPModel, CLIPProcessor

    edited, reference = noise(1), noise(2)
    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)

    def embed(samples):
        inputs = processor(
            text=[s.prompt for s in reference], images=[s.image for s in samples], return_tensors="pt", padding=True
        )
        with torch.no_grad():
            found = model(**inputs)
        return unit(found.image_embeds.double().numpy()), unit(found.text_embeds.double().numpy())

    (x, texts), (y, _) = embed(edited), embed(reference)
    renamed = [Sample(s.id, s.image, "rewritten") for s in edited]  # the prompt that counts is the unedited model's
    found = ready(folder).score_set(renamed, reference, QUESTION)
    assert found.images["feature_distance"] == pytest.approx(1 - (x * y).sum(1), abs=1e-5)
    assert found.images["clip_score"] == pytest.approx(100 * (x * texts).sum(1).clip(0), abs=1e-3)
    assert found.whole["kid"] == pytest.approx(kid(x, y), abs=1e-5)
    assert found.whole["diversity"] == pytest.approx(diversity(x), abs=1e-5)
    arrays_ = [[np.asarray(s.image) / 255 for s in samples] for samples in (edited, reference)]
    assert found.images["drift_mse"] == pytest.approx([((a - b) ** 2).mean() for a, b in zip(*arrays_, strict=True)])
    assert set(found.images["blank_rate"]) == {0.0}


@pytest.mark.parametrize("size", [1, 3, 32])
def test_no_value_depends_on_the_batch_or_the_order(folder, size):
    edited, reference = noise(1), noise(2)
    whole = ready(folder).score_set(edited, reference, QUESTION)
    parts = ready(folder, batch_size=size).score_set(edited[::-1], reference[::-1], QUESTION)
    for name, values in whole.images.items():
        assert parts.images[name][::-1] == pytest.approx(values, abs=1e-5)
    assert parts.whole == pytest.approx(whole.whole, abs=1e-5)


def test_one_unreadable_image_of_twenty_leaves_nineteen(folder):
    edited, reference = noise(1, 20), noise(2, 20)
    found = ready(folder).score_set([*edited[:7], damaged(), *edited[8:]], reference, QUESTION)
    rest = ready(folder).score_set(edited[:7] + edited[8:], reference[:7] + reference[8:], QUESTION)
    for name, values in found.images.items():
        assert math.isnan(values[7])
        assert values[:7] + values[8:] == pytest.approx(rest.images[name], abs=1e-5)
    assert found.whole == pytest.approx(rest.whole, abs=1e-5)
    none = ready(folder).score_set([damaged()] * 3, reference[:3], QUESTION)
    assert all(math.isnan(value) for values in none.images.values() for value in values)
    assert all(math.isnan(value) for value in none.whole.values())


def test_features_that_are_no_numbers_are_no_values(folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(folder, tmp_path / "nan")
    weights = load_file(broken / "model.safetensors")
    weights["visual_projection.weight"].fill_(math.nan)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    found = ready(broken).score_set(noise(1), noise(2), QUESTION)
    for name in ("feature_distance", "clip_score"):
        assert all(map(math.isnan, found.images[name]))
    assert all(map(math.isnan, found.whole.values()))
    assert all(map(math.isfinite, found.images["drift_mse"]))


# ---------------------------------------------------------------- identity and extras
def test_the_fingerprint_covers_model_and_settings_but_no_batch(folder):
    def fingerprint(**params):
        return Drift(DriftParams(model=str(folder), **params)).fingerprint()

    assert fingerprint() == fingerprint(batch_size=2)
    assert fingerprint() != fingerprint(blank=0.1)


def test_the_fingerprint_needs_no_torch(folder):
    code = (
        "import sys; from unlearnbench_drift.evaluator import Drift; "
        "from unlearnbench_drift.params import DriftParams; "
        f"print(Drift(DriftParams(model={str(folder)!r})).fingerprint()); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == Drift(DriftParams(model=str(folder))).fingerprint()


@pytest.mark.parametrize(("extra", "package"), [("lpips", "lpips"), ("fid", "torch-fidelity")])
def test_an_extra_that_is_not_installed_is_told_and_never_replaced(folder, extra, package, monkeypatch):
    import importlib.metadata

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("unlearnbench_drift.identity.version", absent)
    judge = Drift(DriftParams(model=str(folder), extras=(extra,)))
    with pytest.raises(PrerequisiteError) as caught:
        judge.fingerprint()
    assert str(caught.value).count("\n") == 1
    assert f"needs the package {package} (weights: " in caught.value.what
    assert f"unlearnbench-drift[{extra}]" in caught.value.hint
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    with pytest.raises(PrerequisiteError, match=f"drift: {extra} .* cannot be loaded"):
        ready(folder, extras=(extra,))


def test_an_extra_enters_the_fingerprint_with_its_weights_and_version(folder, monkeypatch):
    seen = {Drift(DriftParams(model=str(folder))).fingerprint()}
    for number in ("0.1.4", "0.1.5"):
        monkeypatch.setattr("unlearnbench_drift.identity.version", lambda name, number=number: number)
        for extras in (("lpips",), ("fid",), ("fid", "lpips")):
            seen.add(Drift(DriftParams(model=str(folder), extras=extras)).fingerprint())
    assert len(seen) == 7


class FakeLpips(torch.nn.Module):
    """What the package lpips has, with a mean absolute difference in place of its network."""

    def __init__(self, net, version, verbose):
        super().__init__()
        assert (net, version, verbose) == ("alex", "0.1", False)

    def forward(self, one, other):
        assert -1.0 <= one.min() <= one.max() <= 1.0
        return (one - other).abs().mean((1, 2, 3), keepdim=True)


class FakeInception(torch.nn.Module):
    """What torch-fidelity has, with mean colours in place of its network."""

    def __init__(self, name, features):
        super().__init__()
        assert (name, features) == ("inception-v3-compat", ["2048"])

    def forward(self, images):
        assert images.dtype == torch.uint8
        colours = images.float().mean((2, 3))
        return (torch.nn.functional.pad(colours, (0, 2048 - 3)),)


def test_extras_are_given_what_their_packages_take(folder, monkeypatch):
    lpips, fidelity = ModuleType("lpips"), ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    lpips.LPIPS, fidelity.FeatureExtractorInceptionV3 = FakeLpips, FakeInception
    monkeypatch.setitem(sys.modules, "lpips", lpips)
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, fidelity.__name__, fidelity)
    edited, reference = noise(1, 40), noise(2, 40)
    found = ready(folder, extras=("lpips", "fid")).score_set(edited, [damaged(), *reference[1:]], QUESTION)
    x, y = (np.stack([np.asarray(s.image) for s in samples[1:]]) for samples in (edited, reference))
    assert math.isnan(found.images["lpips"][0])
    expected = 2 * np.abs(x / 255 - y / 255).mean((1, 2, 3))
    assert found.images["lpips"][1:] == pytest.approx(expected, abs=1e-5)
    assert found.whole["fid"] == pytest.approx(frechet(x.mean((1, 2)), y.mean((1, 2))), rel=1e-4)
    empty = ready(folder, extras=("lpips", "fid")).score_set([], [], QUESTION)
    assert empty.images["lpips"] == ()
    assert math.isnan(empty.whole["fid"])


def test_params_survive_json(folder):
    params = DriftParams(extras=("fid",))
    assert DriftParams.model_validate(json.loads(params.model_dump_json())) == params
