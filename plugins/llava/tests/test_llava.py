"""The evaluator `llava` on a random LLaVA model: its arithmetic, its text, and what it does with bad input."""

import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from unlearnbench.api import Question, Sample, Target
from unlearnbench.checks import checks_for, run_checks, subjects
from unlearnbench.model import quiet
from unlearnbench_llava.answerer import Answerer, Reading

CPU = torch.device("cpu")
QUESTION = Question(
    concept="dog", kind="style", display="pet dog", description="a red dog", target=Target(id="cat", display="a cat"),
    classes={},
)  # fmt: skip
SHOWN = "Does this image show a red dog? Answer with 'yes' or 'no'."
OPPOSITE = "Does this image fail to show a red dog? Answer with 'yes' or 'no'."


def pictures(n=5, size=20):
    values = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return [Sample(f"s{i}", Image.fromarray(array), "a dog") for i, array in enumerate(values)]


def broken(picture):
    stream = io.BytesIO()
    picture.save(stream, "png")
    return Sample("broken", Image.open(io.BytesIO(stream.getvalue()[:200])), "a dog")


def oracle(folder, sample, question):
    """Return p_yes, off-set mass and the greedy answer, one image at a time and without a chat template or padding."""
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    with quiet():
        model = LlavaForConditionalGeneration.from_pretrained(folder).float().eval()
        processor = AutoProcessor.from_pretrained(folder)
    text = f"USER: <image>\n{question} ASSISTANT:"
    inputs = processor(text=text, images=sample.image, return_tensors="pt")
    vocabulary = processor.tokenizer.get_vocab()
    written = []
    with torch.no_grad():
        shares = model(**inputs).logits[0, -1].softmax(0)
        for _ in range(5):
            token = int(model(**inputs).logits[0, -1].argmax())
            if token == vocabulary["</s>"]:
                break
            written.append(token)
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([[token]])], 1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    yes = sum(float(shares[vocabulary[word]]) for word in ("yes", "Yes"))
    no = sum(float(shares[vocabulary[word]]) for word in ("no", "No"))
    return yes / (yes + no), 1 - yes - no, processor.tokenizer.decode(written, skip_special_tokens=True).strip()


# ---------------------------------------------------------------- arithmetic
@pytest.mark.parametrize(
    ("params", "asked"),
    [
        ({}, SHOWN),
        ({"question": "kind"}, "Does this image look like a red dog? Answer with 'yes' or 'no'."),
        ({"question": "Is there a {display} in this image?"}, "Is there a pet dog in this image?"),
    ],
)
def test_p_yes_is_the_share_of_yes_among_yes_and_no(folder, params, asked, ready):
    samples = pictures()
    expected = [oracle(folder, sample, asked) for sample in samples]
    scores = ready(folder, **params).score(samples, QUESTION)
    assert [score.p_yes for score in scores] == pytest.approx([row[0] for row in expected], abs=1e-5)
    assert np.ptp([score.p_yes for score in scores]) > 1e-3
    for score, (p_yes, off_set, _) in zip(scores, expected, strict=True):
        assert score.label is (p_yes >= 0.5)
        assert score.answer == f"{'yes' if score.label else 'no'} (off-set mass {off_set:.3f})"


def test_the_label_follows_the_threshold(folder, ready):
    samples = pictures()
    p_yes = sorted(score.p_yes for score in ready(folder).score(samples, QUESTION))
    labels = [score.label for score in ready(folder, threshold=p_yes[2]).score(samples, QUESTION)]
    assert sorted(labels) == [False, False, True, True, True]


def test_a_concept_may_have_a_threshold_of_its_own(folder, ready):
    samples = pictures()
    p_yes = sorted(score.p_yes for score in ready(folder).score(samples, QUESTION))
    judge = ready(folder, threshold=0.999, thresholds={QUESTION.concept: p_yes[2]})
    assert sorted(score.label for score in judge.score(samples, QUESTION)) == [False, False, True, True, True]
    other = judge.score(samples, QUESTION.model_copy(update={"concept": "another"}))
    assert not any(score.label for score in other)


def test_an_image_of_which_other_words_are_likelier_is_undecided(folder, ready):
    samples = pictures()
    masses = [row.off_set for row in Answerer(folder, CPU, "float32").readings([s.image for s in samples], [SHOWN] * 5)]
    limit = sorted(masses)[2]
    scores = ready(folder, off_set_limit=limit).score(samples, QUESTION)
    for score, mass in zip(scores, masses, strict=True):
        assert math.isnan(score.p_yes) is (mass > limit)
        assert (score.label is None) is (mass > limit)
        assert score.answer.startswith("undecided") is (mass > limit)


def test_the_opposite_question_is_averaged(folder, ready):
    samples = pictures()
    mean = [(oracle(folder, s, SHOWN)[0] + 1 - oracle(folder, s, OPPOSITE)[0]) / 2 for s in samples]
    scores = ready(folder, opposite=True).score(samples, QUESTION)
    assert [score.p_yes for score in scores] == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_no_score_depends_on_the_batch_or_the_order(folder, batch_size, ready):
    samples = pictures(33)
    whole = [score.p_yes for score in ready(folder, batch_size=64).score(samples, QUESTION)]
    parts = [score.p_yes for score in ready(folder, batch_size=batch_size).score(samples[::-1], QUESTION)]
    assert parts[::-1] == pytest.approx(whole, abs=1e-5)


def test_padding_changes_no_answer(folder):
    answerer = Answerer(folder, CPU, "float32")
    images = [sample.image for sample in pictures(3)]
    asked = ["dog?", SHOWN, OPPOSITE]
    together = answerer.readings(images, asked)
    alone = [answerer.readings([image], [text])[0] for image, text in zip(images, asked, strict=True)]
    for a, b in zip(together, alone, strict=True):
        assert (a.p_yes, a.off_set) == pytest.approx((b.p_yes, b.off_set), abs=1e-5)
    written = answerer.replies(images, asked, 4)
    assert written == [answerer.replies([image], [text], 4)[0] for image, text in zip(images, asked, strict=True)]


def test_no_images_have_no_scores(folder, ready):
    assert ready(folder).score([], QUESTION) == []
    assert ready(folder, parser="text").score([], QUESTION) == []


# ---------------------------------------------------------------- text
def test_replies_are_greedy(folder):
    samples = pictures()
    written = Answerer(folder, CPU, "float32").replies([s.image for s in samples], [SHOWN] * 5, 5)
    assert written == [oracle(folder, sample, SHOWN)[2] for sample in samples]


@pytest.mark.parametrize(
    ("parser", "expected"),
    [("text", [1.0, 1.0, 0.0, None, None]), ("tail", [1.0, 0.0, 0.0, 0.0, None])],
)
def test_text_is_parsed_and_what_cannot_be_parsed_is_unscored(folder, parser, expected, monkeypatch, ready):
    said = ["Yes", "Yes, there is", "no.", "a red dog", None]
    monkeypatch.setattr(Answerer, "replies", lambda self, images, questions, tokens: said)
    scores = ready(folder, parser=parser).score(pictures(), QUESTION)
    assert [None if math.isnan(s.p_yes) else s.p_yes for s in scores] == expected
    assert [s.label for s in scores] == [None if p is None else p == 1.0 for p in expected]
    assert [s.answer for s in scores] == [text or "" for text in said]


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize("parser", ["logits", "text"])
def test_an_unreadable_image_is_unscored_and_spoils_no_other(folder, parser, ready):
    samples = pictures()
    judge = ready(folder, parser=parser)
    scores = judge.score([samples[0], broken(samples[0].image), *samples[1:]], QUESTION)
    assert math.isnan(scores[1].p_yes)
    assert (scores[1].label, scores[1].answer) == (None, "")
    clean = judge.score(samples, QUESTION)
    kept = [scores[0], *scores[2:]]
    assert [s.p_yes for s in kept] == pytest.approx([s.p_yes for s in clean], abs=1e-5, nan_ok=True)
    assert math.isnan(judge.score([broken(samples[0].image)], QUESTION)[0].p_yes)


def test_an_unreadable_image_has_no_opposite_either(folder, ready):
    samples = pictures(2)
    scores = ready(folder, opposite=True).score([broken(samples[0].image), samples[1]], QUESTION)
    assert [math.isnan(score.p_yes) for score in scores] == [True, False]


def test_a_judge_that_returns_nan_scores_nothing(tmp_path, make_judge, ready):
    from safetensors.torch import load_file, save_file

    path = make_judge(tmp_path) / "model.safetensors"
    weights = load_file(path)
    spoilt = next(name for name in weights if name.endswith("lm_head.weight"))
    save_file(weights | {spoilt: torch.full_like(weights[spoilt], math.nan)}, path, metadata={"format": "pt"})
    for score in ready(tmp_path).score(pictures(), QUESTION):
        assert math.isnan(score.p_yes)
        assert score.label is None


def test_grey_and_transparent_images_are_read_and_left_as_they_are(folder, ready):
    samples = [Sample(mode, Image.new(mode, (30, 17)), "a dog") for mode in ("L", "RGBA", "P", "RGB")]
    before = [(sample.image.mode, sample.image.tobytes()) for sample in samples]
    assert all(0 < score.p_yes < 1 for score in ready(folder).score(samples, QUESTION))
    assert [(sample.image.mode, sample.image.tobytes()) for sample in samples] == before


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_reduced_precision_answers_nearly_the_same(tmp_path, dtype, make_judge, ready):
    folder = make_judge(tmp_path, torch.float16, scale=3.0)
    samples = pictures()
    exact = [score.p_yes for score in ready(folder).score(samples, QUESTION)]
    rounded = [score.p_yes for score in ready(folder, dtype=dtype).score(samples, QUESTION)]
    assert rounded == pytest.approx(exact, abs=0.03)
    assert rounded != exact


def test_loading_and_answering_is_quiet(folder, capfd, ready):
    ready(folder).score(pictures(1), QUESTION)
    ready(folder, parser="text").score(pictures(1), QUESTION)
    assert capfd.readouterr() == ("", "")


def test_processors_of_older_checkpoints_are_completed(folder, tmp_path, make_judge):
    samples = pictures(2)
    make_judge(tmp_path)
    path = tmp_path / "processor_config.json"
    kept = {"image_processor", "image_processor_type", "processor_class"}
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k in kept}))
    (tmp_path / "chat_template.jinja").unlink()
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "pad_token"}))
    older = Answerer(tmp_path, CPU, "float32")
    images, asked = [sample.image for sample in samples], [SHOWN, "dog?"]
    whole = Answerer(folder, CPU, "float32").readings(images, asked)
    for a, b in zip(older.readings(images, asked), whole, strict=True):
        assert isinstance(a, Reading)
        assert (a.p_yes, a.off_set) == pytest.approx((b.p_yes, b.off_set), abs=1e-5)


# ---------------------------------------------------------------- the harness
def test_the_evaluator_conforms(folder):
    given = {"model": str(folder), "off_set_limit": 1.0}
    with subjects("unlearnbench-llava/llava", given) as [subject]:
        report = run_checks(checks_for("evaluator"), subject)
    assert [result for result in report.results if result.status == "failed"] == []
    assert sum(result.status == "passed" for result in report.results) > 10


# ---------------------------------------------------------------- real shapes
@pytest.mark.slow
def test_a_model_with_the_shapes_of_llava_1_5_7b_answers(tmp_path, ready, words, processor_of):
    """Width, heads, image size, vocabulary and feature layer of LLaVA-1.5-7B; one language and two vision layers."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=2, num_attention_heads=16, image_size=336,
        patch_size=14,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=1, num_attention_heads=32, vocab_size=32064
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=words.convert_tokens_to_ids("<image>")
    )
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            LlavaForConditionalGeneration(config).save_pretrained(tmp_path, max_shard_size="400MB")
        finally:
            torch.set_default_dtype(default)
        processor_of(words, 336, 14).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors.index.json").exists()
    scores = ready(tmp_path, dtype="bfloat16").score(pictures(2, 512), QUESTION)
    assert all(0 < score.p_yes < 1 for score in scores)
    assert all("off-set mass 1.000" in score.answer for score in scores)
