"""The evaluator `clip` on a random CLIP model: its arithmetic, its identity, and what it does with bad input."""

import io
import json
import logging
import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from unlearnbench.api import Question, Sample, Target
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.testing import tiny_clip
from unlearnbench_clip.evaluator import Clip
from unlearnbench_clip.params import ClipParams

CLASSES = {"dog": "a dog", "cat": "a cat", "apple": "a red apple", "running": "running"}
QUESTION = Question(
    concept="dog",
    kind="object",
    display="a dog",
    description="a dog",
    target=Target(id="cat", display="a cat"),
    classes=CLASSES,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("judge"))


def ready(folder, **params):
    judge = Clip(ClipParams(model=str(folder), **params))
    judge.setup(SimpleNamespace(device=torch.device("cpu"), log=logging.getLogger("test")))
    return judge


def pictures(n=5, size=20):
    values = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return [Sample(f"s{i}", Image.fromarray(array), "a dog") for i, array in enumerate(values)]


def expected(folder, samples, template="a picture of {}"):
    from transformers import CLIPModel, CLIPProcessor

    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)
    inputs = processor(
        text=[template.format(words) for words in CLASSES.values()],
        images=[sample.image for sample in samples],
        return_tensors="pt",
        padding=True,
    )
    with torch.no_grad():
        return model(**inputs).logits_per_image.softmax(dim=1).numpy()


@pytest.mark.parametrize("template", ["a picture of {}", "{} in a photo"])
def test_p_yes_is_the_softmax_of_the_whole_model(folder, template):
    samples = pictures()
    whole = expected(folder, samples, template)
    scores = ready(folder, template=template).score(samples, QUESTION)
    assert [score.p_yes for score in scores] == pytest.approx(whole[:, 0].tolist(), abs=1e-5)
    assert [score.answer for score in scores] == [list(CLASSES)[i] for i in whole.argmax(axis=1)]
    other = ready(folder, template=template).score(samples, QUESTION.model_copy(update={"concept": "apple"}))
    assert [score.p_yes for score in other] == pytest.approx(whole[:, 2].tolist(), abs=1e-5)


def test_the_label_follows_the_threshold(folder):
    samples = pictures()
    p_yes = sorted(score.p_yes for score in ready(folder).score(samples, QUESTION))
    assert p_yes[0] < p_yes[-1]
    labels = [score.label for score in ready(folder, threshold=p_yes[2]).score(samples, QUESTION)]
    assert sorted(labels) == [False, False, True, True, True]


def test_a_concept_may_have_a_threshold_of_its_own(folder, tmp_path):
    samples = pictures()
    p_yes = sorted(score.p_yes for score in ready(folder).score(samples, QUESTION))
    file = tmp_path / "thresholds.json"
    file.write_text(json.dumps({"dog": p_yes[2]}))
    for given in ({"dog": p_yes[2]}, str(file)):
        judge = ready(folder, threshold=0.999, thresholds=given)
        assert sorted(score.label for score in judge.score(samples, QUESTION)) == [False, False, True, True, True]
        other = judge.score(samples, QUESTION.model_copy(update={"concept": "apple"}))
        assert not any(score.label for score in other)


def test_thresholds_make_another_judge_and_none_of_them_leave_keys_as_they_were(folder, tmp_path):
    file = tmp_path / "thresholds.json"
    seen = {Clip(ClipParams(model=str(folder))).fingerprint()}
    for value in (0.4, 0.6):
        file.write_text(json.dumps({"dog": value}))
        seen.add(Clip(ClipParams(model=str(folder), thresholds=str(file))).fingerprint())
        assert ClipParams(thresholds=str(file)).model_dump()["thresholds"] == {"dog": value}
    assert len(seen) == 3
    assert "thresholds" not in ClipParams().model_dump(mode="json")


@pytest.mark.parametrize("content", ["no json", '{"dog": 1.5}', '{"dog": 0}', '{"Dog!": 0.5}', "[0.5]"])
def test_a_wrong_file_of_thresholds_is_refused(content, tmp_path):
    file = tmp_path / "thresholds.json"
    file.write_text(content)
    with pytest.raises(ValidationError):
        ClipParams(thresholds=str(file))
    with pytest.raises(ValidationError, match="cannot read"):
        ClipParams(thresholds=str(tmp_path / "nowhere.json"))


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_no_score_depends_on_the_batch_or_the_order(folder, batch_size):
    samples = pictures(33)
    whole = [score.p_yes for score in ready(folder, batch_size=64).score(samples, QUESTION)]
    parts = [score.p_yes for score in ready(folder, batch_size=batch_size).score(samples[::-1], QUESTION)]
    assert parts[::-1] == pytest.approx(whole, abs=1e-6)
    assert len(set(whole)) == 33
    assert ready(folder).score([], QUESTION) == []


def test_an_unreadable_image_is_unscored_and_spoils_no_other(folder):
    samples = pictures()
    stream = io.BytesIO()
    samples[0].image.save(stream, "png")
    broken = Sample("broken", Image.open(io.BytesIO(stream.getvalue()[:200])), "a dog")
    judge = ready(folder)
    scores = judge.score([samples[0], broken, *samples[1:]], QUESTION)
    assert math.isnan(scores[1].p_yes)
    assert scores[1].label is None
    assert scores[1].answer == ""
    clean = judge.score(samples, QUESTION)
    assert [s.p_yes for s in (scores[0], *scores[2:])] == pytest.approx([s.p_yes for s in clean], abs=1e-6)
    assert [math.isnan(s.p_yes) for s in judge.score([broken], QUESTION)] == [True]


def test_a_judge_that_returns_nan_scores_nothing(tmp_path):
    from safetensors.torch import load_file, save_file

    path = tiny_clip(tmp_path) / "model.safetensors"
    save_file(load_file(path) | {"logit_scale": torch.tensor(float("nan"))}, path, metadata={"format": "pt"})
    for score in ready(tmp_path).score(pictures(), QUESTION):
        assert math.isnan(score.p_yes)
        assert score.label is None


def test_grey_and_transparent_images_are_read(folder):
    samples = [Sample(mode, Image.new(mode, (30, 17)), "a dog") for mode in ("L", "RGBA", "P")]
    assert all(0 < score.p_yes < 1 for score in ready(folder).score(samples, QUESTION))


def test_concept_and_target_are_always_among_the_classes(folder):
    bare = QUESTION.model_copy(update={"classes": {"apple": "a red apple"}})
    listed = QUESTION.model_copy(update={"classes": {k: CLASSES[k] for k in ("apple", "dog", "cat")}})
    judge, samples = ready(folder), pictures()
    found = [score.p_yes for score in judge.score(samples, bare)]
    assert found == pytest.approx([score.p_yes for score in judge.score(samples, listed)], abs=1e-6)


def test_half_precision_weights_are_judged_in_float32(tmp_path):
    folder = tiny_clip(tmp_path, dtype="float16")
    scores = ready(folder).score(pictures(), QUESTION)
    assert all(math.isfinite(score.p_yes) for score in scores)


def test_loading_is_quiet(folder, capfd):
    ready(folder)
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------- identity
def test_the_fingerprint_covers_weights_configuration_processor_and_tokenizer(tmp_path):
    folder = tiny_clip(tmp_path / "judge")
    seen = {Clip(ClipParams(model=str(folder))).fingerprint()}
    assert seen == {Clip(ClipParams(model=str(folder), threshold=0.9)).fingerprint()}
    (folder / "README.md").write_text("not part of the judge")
    assert Clip(ClipParams(model=str(folder))).fingerprint() in seen
    for name in ("config.json", "processor_config.json", "tokenizer.json"):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"note": name}))
        seen.add(Clip(ClipParams(model=str(folder))).fingerprint())
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    seen.add(Clip(ClipParams(model=str(folder))).fingerprint())
    assert len(seen) == 5


def test_the_fingerprint_needs_no_torch(folder):
    code = (
        "import sys; from unlearnbench_clip.evaluator import Clip; from unlearnbench_clip.params import ClipParams; "
        f"print(Clip(ClipParams(model={str(folder)!r})).fingerprint()); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == Clip(ClipParams(model=str(folder))).fingerprint()


# ---------------------------------------------------------------- which judge
def test_auto_is_the_shipped_judge(folder, monkeypatch):
    monkeypatch.setattr("unlearnbench.plugins.shipped_models", lambda: {"emoji-judge-clip": folder})
    assert Clip(ClipParams()).folder == folder
    assert Clip(ClipParams(model="emoji-judge-clip")).fingerprint() == Clip(ClipParams(model=str(folder))).fingerprint()


def test_an_unknown_judge_is_a_mistake(monkeypatch, folder):
    monkeypatch.setattr("unlearnbench.plugins.shipped_models", lambda: {"emoji-judge-clip": folder})
    with pytest.raises(UserError, match="no model 'emoji-judge'") as caught:
        Clip(ClipParams(model="emoji-judge")).fingerprint()
    assert "emoji-judge-clip" in caught.value.hint


def test_a_judge_without_weights_is_a_missing_prerequisite(monkeypatch, tmp_path):
    monkeypatch.setattr("unlearnbench.plugins.shipped_models", lambda: {"emoji-judge-clip": tmp_path})
    with pytest.raises(PrerequisiteError) as caught:
        Clip(ClipParams()).fingerprint()
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize("template", ["a picture", "{} and {}", "{0}", "{name} {}", "{{}}"])
def test_a_template_has_one_place(template):
    with pytest.raises(ValidationError, match="exactly one"):
        ClipParams(template=template)


# ---------------------------------------------------------------- real shapes
@pytest.mark.slow  # 1.7 GB
def test_a_model_with_the_shapes_of_vit_l_14_answers(tmp_path):
    """Every size of openai/clip-vit-large-patch14, with random weights, and images of 512 px."""
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTextConfig, CLIPVisionConfig
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = CLIPProcessor.from_pretrained(tiny_clip(tmp_path / "tiny")).tokenizer
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, vocab_size=49408,
        projection_dim=768, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=224,
        patch_size=14, projection_dim=768,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=768))
    assert sum(p.numel() for p in model.parameters()) == 427_616_513  # as published
    model.save_pretrained(tmp_path / "large")
    size = {"height": 224, "width": 224}
    CLIPProcessor(CLIPImageProcessorPil(size=size, crop_size=size), tokenizer).save_pretrained(tmp_path / "large")
    del model
    samples = pictures(3, size=512)
    found = [score.p_yes for score in ready(tmp_path / "large", batch_size=2).score(samples, QUESTION)]
    assert found == pytest.approx(expected(tmp_path / "large", samples)[:, 0].tolist(), abs=1e-5)
