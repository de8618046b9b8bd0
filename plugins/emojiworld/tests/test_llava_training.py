"""The LLaVA judge's training: what is asked, several questions at once, exact resumption, and the folder it writes."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from unlearnbench.errors import UserError
from unlearnbench_emojiworld.dataset import EmojiWorld
from unlearnbench_emojiworld.train import data, llava, llava_heldout
from unlearnbench_emojiworld.train.arguments import Arguments
from unlearnbench_emojiworld.train.config import DataSettings, LlavaSettings, TrainConfig
from unlearnbench_emojiworld.train.fit import CHECKPOINT, Part
from unlearnbench_emojiworld.train.llava_model import layout
from unlearnbench_emojiworld.train.llava_questions import (
    ANSWER,
    ASK,
    ASSISTANT,
    QUESTION,
    USER,
    Questions,
    Statements,
    choose,
    learn_tokenizer,
    statements,
)
from unlearnbench_emojiworld.world import World

TINY = {
    "steps": 4, "batch": 6, "learning_rate": 1e-3, "warmup": 2, "entries": 400, "hidden": 16, "intermediate": 32,
    "layers": 2, "heads": 2, "vision_hidden": 16, "vision_layers": 2, "vision_heads": 2, "patch": 8, "questions": 4,
    "classification_share": 0.5, "classification_weight": 0.5,
}  # fmt: skip
SIZE = 16


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world():
    return World.load()


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    shipped = TrainConfig.load().model_dump(mode="json")
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    drawn = {"renders": 24, "heldout": 8, "planted": 6, "captions": 1, "size": SIZE}
    path.write_text(yaml.safe_dump(shipped | {"seed": 3, "data": drawn, "llava": TINY}))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, world):
    folder = tmp_path_factory.mktemp("pictures")
    settings = DataSettings(renders=24, heldout=8, planted=6, captions=1, size=SIZE)
    for split in ("train", "heldout", "balance"):
        data.draw(world, settings, split).save(folder / "data", split)
    return folder / "data"


def run(out, pictures, config, *more):
    """Run the script as its command line does."""
    out.mkdir(exist_ok=True)
    if not (out / "data").exists():
        (out / "data").symlink_to(pictures, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script", "--out", str(out), "--config", str(config), "--save-every", "1", *more])
        llava.main()


def state(out):
    return torch.load(out / "llava" / CHECKPOINT, weights_only=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pictures, config):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained")
    run(out, pictures, config)
    return out


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    found, *_ = llava.prepare(LlavaSettings(**TINY), World.load(), SIZE)
    for parameter in found.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(5.0)
    return found.eval().requires_grad_(False)


# ---------------------------------------------------------------- what is asked
def test_every_subject_and_style_of_the_world_can_be_asked_about(world):
    subjects, styles = statements(world)
    concepts = EmojiWorld().concepts
    for about, classes in ((subjects, world.subjects), (styles, world.styles)):
        assert len(about.pools) == len(about.near) == len(classes)
        for index, identifier in enumerate(classes):
            texts = [about.texts[row] for row in about.pools[index]]
            assert all(index in about.owners[row] for row in about.pools[index])
            if identifier in concepts:
                assert texts[0] == concepts[identifier].description
                assert concepts[identifier].display in texts
                assert set(concepts[identifier].aliases) <= set(texts)
    for index, subject in enumerate(world.subjects.values()):
        said = {subjects.texts[row] for row in subjects.pools[index]}
        assert {*subject.names, *subject.indirect} <= said


def test_classes_are_near_each_other_both_ways(world):
    for about, classes in zip(statements(world), (world.subjects, world.styles), strict=True):
        place = {identifier: index for index, identifier in enumerate(classes)}
        for index, near in enumerate(about.near):
            assert index not in near
            assert all(index in about.near[other] for other in near)
        for concept in EmojiWorld().concepts.values():
            if concept.id in place:
                known = {place[other] for other in (*concept.neighbours, concept.target.id) if other in place}
                assert known <= set(about.near[place[concept.id]])


def test_a_text_of_several_classes_is_never_a_false_question():
    about = Statements.collect([["a man", "a cook"], ["a woman", "a cook"], ["a dog"]], [[1], [0], []])
    assert about.owners[about.texts.index("a cook")] == {0, 1}
    labels = np.repeat([0, 1, 2], 40)
    likely = np.tile([0, 1], (120, 1))
    rows, true = choose(about, labels, likely, 5, np.random.default_rng(0), plain_share=0.0)
    for row, fits, label in zip(rows.ravel(), true.ravel(), np.repeat(labels, 5), strict=True):
        assert (label in about.owners[row]) == fits
    assert 0.4 < true.mean() < 0.6


def test_false_questions_ask_for_near_classes_likely_ones_and_all_others():
    about = Statements.collect([[str(i)] for i in range(50)], [[1], *[[]] * 49])
    labels, likely = np.zeros(600, int), np.tile([0, 2], (600, 1))
    rows, true = choose(about, labels, likely, 10, np.random.default_rng(0), plain_share=1.0)
    asked = rows[~true]
    for row in (1, 2):
        assert 0.3 < (asked == row).mean() < 0.38
    assert set(asked.tolist()) == set(range(1, 50))


def test_the_first_words_of_a_class_are_asked_more_often():
    about = Statements.collect([[f"{word} {i}" for word in "abcde"] for i in range(2)], [[], []])
    labels, likely = np.zeros(400, int), np.zeros((400, 1), int)
    rows, _ = choose(about, labels, likely, 4, np.random.default_rng(0), plain_share=0.5)
    assert 0.55 < np.isin(rows, [about.pools[0][0], about.pools[1][0]]).mean() < 0.65


# ---------------------------------------------------------------- tokenizer
def test_phrases_of_the_question_are_one_token_each_and_any_text_can_be_spelt():
    coder = learn_tokenizer(["a dog", "the early one"], 300)
    ids = coder.encode(f"{USER} <image>\n{QUESTION.format('Zürich, a dog ☂')} {ASSISTANT}")
    tokens = coder.convert_ids_to_tokens(ids)
    assert [token for token in tokens if token in (USER, "<image>", ASK, ANSWER, ASSISTANT)] == [
        USER, "<image>", ASK, ANSWER, ASSISTANT,
    ]  # fmt: skip
    assert "zürich, a dog ☂?" in coder.decode(ids)
    yes = {coder.encode(form)[0] for form in ("yes", " yes", "Yes", " YES")}
    assert len(yes) == 1
    assert coder.encode("yesterday")[0] not in yes
    assert coder.padding_side == "left"


def test_a_question_is_hardly_longer_than_what_it_asks_about(world):
    about = statements(world)
    coder = learn_tokenizer(about[0].texts, TrainConfig.load().llava.entries)
    questions = Questions.encode(coder, about)
    for some, lengths in zip(about, questions.lengths, strict=True):
        for text, length in zip(some.texts, lengths.tolist(), strict=True):
            assert length == 3 + len(coder.encode(f" {text}?"))


# ---------------------------------------------------------------- several questions at once
def test_the_layout_places_every_question_right_after_the_picture():
    positions, mask = layout(2, 2, 2)
    assert positions.tolist() == [[0, 1, 2, 3, 2, 3]]
    assert (mask[0, 0] == 0).int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]


def test_questions_at_once_are_answered_as_one_by_one(student):
    _, coder, questions = llava.prepare(LlavaSettings(**TINY), World.load(), SIZE)
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    rows = [0, 5, 17]
    pixels = llava.to_tensor(images)
    tails, lengths = questions.coded(np.array([rows] * 3), 0)
    together = student.p_yes(student.features(pixels), tails, lengths)
    patches = "<image>" * (SIZE // 8) ** 2
    for column, row in enumerate(rows):
        text = f"{USER} {patches}\n{QUESTION.format(questions.about[0].texts[row])} {ASSISTANT}"
        ids = torch.tensor([coder.encode(text)])
        for picture in range(3):
            logits = student.llava(input_ids=ids, pixel_values=pixels[picture : picture + 1]).logits[0, -1]
            yes, no = logits[student.yes], logits[student.no]
            assert together[picture, column].item() == pytest.approx((yes - no).sigmoid().item(), abs=1e-5)
    assert together.std() > 1e-3


def test_words_are_classified_by_what_is_stated_alone(student):
    _, _, questions = llava.prepare(LlavaSettings(**TINY), World.load(), SIZE)
    tails, lengths = questions.coded(np.array([0, 40]), 0)
    found = student.word_classes(tails, lengths, 0)
    embed = student.llava.get_input_embeddings()
    for row in range(2):
        mean = embed(tails[row, 1 : int(lengths[row]) - 2]).mean(0)
        expected = student.classifiers[0](mean / mean.pow(2).mean().sqrt())
        assert torch.allclose(found[row], expected, rtol=1e-3)


# ---------------------------------------------------------------- training
def test_training_is_bit_reproducible_and_resumes_exactly(trained, tmp_path, pictures, config, monkeypatch):
    stopped = Part.average

    def stop_after_three(part):
        stopped(part)
        if part.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Part, "average", stop_after_three)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, pictures, config)
    assert state(tmp_path)["step"] == 2
    run(tmp_path, pictures, config, "--resume")
    ours, theirs = state(tmp_path), state(trained)
    assert ours["step"] == theirs["step"] == 4
    assert all(torch.equal(value, theirs["module"][name]) for name, value in ours["module"].items())
    first, second = ((out / "llava" / "model" / "model.safetensors").read_bytes() for out in (tmp_path, trained))
    assert first == second


def test_the_first_steps_leave_the_language_model_alone(trained, tmp_path, pictures, config):
    before, *_ = build_as_main(config)
    after = state(trained)["module"]
    changed = {name for name, value in before.state_dict().items() if not torch.equal(value, after[name])}
    assert any("language_model.layers" in name for name in changed)
    settings = yaml.safe_load(config.read_text())
    settings["llava"] |= {"classification_share": 1.0}
    alone = tmp_path / "alone.yaml"
    alone.write_text(yaml.safe_dump(settings))
    run(tmp_path, pictures, alone)
    after = state(tmp_path)["module"]
    changed = {name for name, value in before.state_dict().items() if not torch.equal(value, after[name])}
    assert any("vision_tower" in name for name in changed)
    assert any("embed_tokens" in name for name in changed)
    assert not any("language_model.layers" in name for name in changed)


def build_as_main(config):
    settings = TrainConfig.load(config)
    llava.start(Arguments(Path(), settings, False, None, 1), llava.SEED_OFFSET)
    return llava.prepare(settings.llava, World.load(), SIZE)


def test_training_lowers_the_loss_of_the_answers(pictures):
    torch.manual_seed(0)
    settings = LlavaSettings(**TINY | {"hidden": 32, "classification_share": 0.0})
    student, _, questions = llava.prepare(settings, World.load(), SIZE)
    objective = llava.Objective(student, data.Drawn.for_judges(pictures), questions, settings)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    losses = []
    for step in range(12):
        loss, figures = objective(SimpleNamespace(step=step, size=8, numbers=np.random.default_rng(step), progress=0.0))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(figures["answer"])
    assert losses[-1] < 0.6 * losses[0]


def test_subjects_are_chosen_equally_often_however_many_pictures_they_have():
    labels = np.array([[0, 0, 0]] * 6 + [[3, 0, 0]] * 2)
    chances = llava.balanced(labels)
    assert chances[:6].sum() == pytest.approx(0.5)
    assert chances.sum() == pytest.approx(1.0)


def test_a_settings_file_without_the_judge_says_so(tmp_path, pictures, config):
    settings = yaml.safe_load(config.read_text())
    del settings["llava"]
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(settings))
    with pytest.raises(UserError, match="llava"):
        run(tmp_path, pictures, path)


# ---------------------------------------------------------------- what comes out
def test_the_folder_is_judged_with_by_the_evaluator(trained, world):
    from unlearnbench.api import Question, Sample
    from unlearnbench_llava.evaluator import Llava
    from unlearnbench_llava.params import LlavaParams

    folder = trained / "llava" / "model"
    images = np.load(trained / "data" / "heldout-images.npy")
    samples = [Sample(str(i), Image.fromarray(image), "") for i, image in enumerate(images)]
    concept = EmojiWorld().concepts["sunset"]
    question = Question(
        concept=concept.id, kind=concept.kind, display=concept.display, description=concept.description,
        target=concept.target, classes={},
    )  # fmt: skip
    judge = Llava(LlavaParams(model=str(folder), off_set_limit=1.0))
    judge.setup(SimpleNamespace(device=torch.device("cpu"), log=None))
    p_yes = [score.p_yes for score in judge.score(samples, question)]

    student, _, questions = llava.prepare(LlavaSettings(**TINY), World.load(), SIZE)
    student.load_state_dict(state(trained)["module"])
    for parameter in student.requires_grad_(False).parameters():
        parameter.data = parameter.data.half().float()  # the folder holds half precision
    row = questions.about[0].texts.index(concept.description)
    tails, lengths = questions.coded(np.full((len(images), 1), row), 0)
    features = student.eval().features(llava.to_tensor(images))
    expected = student.p_yes(features, tails, lengths)
    assert p_yes == pytest.approx(expected[:, 0].tolist(), abs=1e-4)


def test_the_folder_holds_half_precision_and_no_classifier(trained):
    from safetensors.torch import load_file

    weights = load_file(trained / "llava" / "model" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert not any("classifier" in name for name in weights)


def test_shipped_settings_stay_within_the_size_budget():
    settings = TrainConfig.load().llava
    student, *_ = llava.prepare(settings, World.load(), 64)
    assert 2 * sum(p.numel() for p in student.llava.parameters()) <= 8e6
    assert settings.classification_share < 1.0


def test_held_out_figures_cover_every_class(trained, world):
    found = json.loads((trained / "llava" / "heldout.json").read_text())
    assert [one["name"] for one in found] == [*world.subjects, *world.styles]


def test_sensitivity_and_false_positives_are_counted(student, monkeypatch, tmp_path):
    about = (Statements.collect([["a"], ["b"], ["e"]], [[]] * 3), Statements.collect([["c"], ["d"]], [[], []]))
    questions = Questions(about, (), ())
    labels = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]])
    drawn = data.Drawn(np.zeros((4, SIZE, SIZE, 3), np.uint8), labels, [], np.zeros((4, 0, 3), bool))
    said = iter(
        [
            np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 1, 0]], bool),
            np.array([[1, 0], [1, 1], [1, 0], [1, 1]], bool),
        ]
    )
    monkeypatch.setattr(llava_heldout, "ask", lambda *_: next(said))
    found = llava_heldout.measure(student, drawn, questions, (["a", "b", "e"], ["c", "d"]))
    expected = [(0.5, 0.5), (1.0, 0.5), (None, 0.25), (1.0, 1.0), (1.0, 0.0)]
    summary = llava_heldout.report(found, tmp_path / "heldout.json")
    rows = json.loads((tmp_path / "heldout.json").read_text())
    assert [(row["sensitivity"], row["false_positive"]) for row in rows] == expected
    assert summary == ("balanced accuracy 0.6875; least sensitivity 0.500 (a); largest false-positive rate 1.0000 (c)")
