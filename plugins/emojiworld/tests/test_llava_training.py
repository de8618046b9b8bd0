"""The LLaVA judge's training: exact resumption, what is learned first, and the folder it writes."""

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
from unlearnbench_emojiworld.train.llava_questions import (
    Questions,
    Statements,
)
from unlearnbench_emojiworld.world import World

SIZE = 16


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def config(tmp_path_factory, tiny_llava):
    shipped = TrainConfig.load().model_dump(mode="json")
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    drawn = {"renders": 24, "heldout": 8, "planted": 6, "captions": 1, "size": SIZE}
    path.write_text(yaml.safe_dump(shipped | {"seed": 3, "data": drawn, "llava": tiny_llava}))
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


def test_training_lowers_the_loss_of_the_answers(pictures, tiny_llava):
    torch.manual_seed(0)
    settings = LlavaSettings(**tiny_llava | {"hidden": 32, "classification_share": 0.0})
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
def test_the_folder_is_judged_with_by_the_evaluator(trained, world, tiny_llava):
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

    student, _, questions = llava.prepare(LlavaSettings(**tiny_llava), World.load(), SIZE)
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
