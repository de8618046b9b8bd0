"""One command runs all stages: what is complete is skipped, what was cut goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench_emojiworld.models import WEIGHTS
from unlearnbench_emojiworld.train import __main__ as command
from unlearnbench_emojiworld.train import arithmetic, data, stages, warm
from unlearnbench_emojiworld.train.arguments import Arguments
from unlearnbench_emojiworld.train.config import DEFAULT, RETRAIN, UNET_ALONE, Start, TrainConfig
from unlearnbench_emojiworld.train.stages import DONE, LOG, ORDER, TRAINED, Run, budgets


@pytest.fixture
def config():
    return TrainConfig.load()


def test_the_shipped_settings_have_a_time_for_every_stage_and_about_four_hours_in_all(config):
    assert tuple(config.minutes) == ORDER
    assert sum(config.minutes.values()) == pytest.approx(225, abs=10)


def test_the_settings_of_a_retrain_differ_in_stages_alone(config):
    retrain = TrainConfig.load(RETRAIN)
    assert retrain.start.taken == ("tokenizer", "vae")
    assert set(retrain.minutes) == {"data", "tokenizer", "text", "vae", "cache", "unet", "export"}
    assert retrain.model_copy(update={"start": config.start, "minutes": config.minutes}) == config


def test_settings_that_train_the_noise_predictor_alone_differ_in_stages_alone(config):
    alone = TrainConfig.load(UNET_ALONE)
    assert alone.start.taken == ("tokenizer", "vae", "text")
    assert [stage for stage in alone.minutes if stage in TRAINED and stage not in alone.start.taken] == ["unet"]
    assert alone.model_copy(update={"start": config.start, "minutes": config.minutes}) == config


def test_minutes_scale_what_trains(config):
    scaled = budgets(config, 30)
    assert sum(scaled.minutes.values()) == pytest.approx(30)
    assert {s: scaled.minutes[s] for s in ORDER if s not in TRAINED} == {
        s: config.minutes[s] for s in ORDER if s not in TRAINED
    }
    assert scaled.minutes["unet"] / scaled.minutes["text"] == pytest.approx(
        config.minutes["unet"] / config.minutes["text"]
    )
    assert budgets(config, None) == config
    with pytest.raises(UserError, match="minutes are gone"):
        budgets(config, 1)


class Scripted(Run):
    """A run whose stages are empty, but for one that fails."""

    failing = ""

    def command(self, stage):
        return [sys.executable, "-c", "raise SystemExit(3)" if stage == self.failing else "pass"]

    def environments(self, stage):
        return super().environments(stage)[:1]


def draws(out, config):
    """Leave what the stage `data` leaves to be recognised by."""
    (out / "data").mkdir()
    (out / "data" / data.DRAWN_FROM).write_text(data.drawn_from(config) + "\n")


def progress(out, stage, finished):
    (out / stage).mkdir(exist_ok=True)
    (out / stage / "progress.json").write_text(json.dumps({"step": 1, "seconds": 1.0, "finished": finished}))


def test_complete_stages_are_skipped_and_a_cut_one_stops_the_order(tmp_path, config, capsys):
    run = Scripted(tmp_path, config)
    draws(tmp_path, config)
    progress(tmp_path, "text", True)
    progress(tmp_path, "vae", False)
    assert not command.train(run, [])
    assert sorted(path.name for path in (tmp_path / DONE).iterdir()) == ["data", "text", "tokenizer"]
    rows = [line.split(",")[::2] for line in (tmp_path / LOG).read_text().splitlines()]
    assert rows == [
        ["stage", "outcome"], ["data", "complete"], ["tokenizer", "complete"], ["text", "complete"], ["vae", "cut"]
    ]  # fmt: skip
    progress(tmp_path, "vae", True)
    capsys.readouterr()
    assert command.train(run, ["data", "vae"])
    told = capsys.readouterr().out
    assert "data: complete" in told
    assert "tokenizer" not in told


def test_a_failing_stage_is_an_error_and_not_complete(tmp_path, config):
    class Failing(Scripted):
        failing = "tokenizer"

    run = Failing(tmp_path, config)
    draws(tmp_path, config)
    with pytest.raises(UserError, match="tokenizer failed"):
        command.train(run, [])
    assert not run.complete("tokenizer")
    assert (tmp_path / LOG).read_text().endswith("failed\n")


def test_pictures_of_another_world_are_refused(tmp_path, config):
    run = Scripted(tmp_path, config)
    draws(tmp_path, config.model_copy(update={"without": ("dog",)}))
    assert command.train(run, ["data"])
    with pytest.raises(UserError, match="another version"):
        command.train(run, ["tokenizer"])


def test_a_stage_that_was_cut_goes_on_with_resume_and_its_time(tmp_path, config):
    run = Run(tmp_path, config, WEIGHTS)
    fresh = run.command("unet")
    assert fresh[-2:] == ["--seconds", f"{60 * config.minutes['unet']:.1f}"]
    assert fresh[fresh.index("--from") + 1] == str(WEIGHTS)
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "checkpoint.pt").touch()
    assert run.command("unet") == [*fresh, "--resume"]
    assert "--seconds" not in run.command("cache")


def test_training_stages_run_in_processes_of_one_thread(tmp_path, config):
    run = Run(tmp_path, config)
    assert len(run.environments("cache")) == 1
    both = run.environments("unet")
    assert [environment["RANK"] for environment in both] == ["0", "1"]
    assert {environment["OMP_NUM_THREADS"] for environment in both} == {"1"}
    assert len({environment["MASTER_PORT"] for environment in both}) == 1
    assert len(Run(tmp_path, config, processes=1).environments("unet")) == 1


def test_a_request_to_stop_is_passed_on():
    script = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print('up', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"up\n"
    threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGTERM)).start()
    before = signal.getsignal(signal.SIGTERM)
    assert stages.wait([child]) == (True, [0])
    assert signal.getsignal(signal.SIGTERM) is before
    child.stdout.close()


def test_when_one_process_fails_the_others_are_ended():
    begin = time.perf_counter()
    children = [
        subprocess.Popen([sys.executable, "-c", code])
        for code in ("raise SystemExit(4)", "import time; time.sleep(60)")
    ]
    asked, codes = stages.wait(children)
    assert not asked
    assert codes[0] == 4
    assert codes[1] != 0
    assert time.perf_counter() - begin < 50


def test_settings_are_kept_in_the_folder_and_others_are_refused(tmp_path):
    first = command.settings(tmp_path, DEFAULT, ["dog"], 40)
    assert first.arithmetic in ("float32", "bfloat16")
    assert command.settings(tmp_path, DEFAULT, ["dog"], None).arithmetic == first.arithmetic
    with pytest.raises(UserError, match="other settings"):
        command.settings(tmp_path, DEFAULT, ["cat"], None)
    with pytest.raises(UserError, match="no concept 'dgo'"):
        command.settings(tmp_path / "new", DEFAULT, ["dgo"], None)
    assert not (tmp_path / "new").exists()


def test_bad_input_is_told_in_two_lines(tmp_path, capsys):
    assert command.main(["--out", str(tmp_path / "a"), "--from", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert not (tmp_path / "a").exists()


def arguments(out, config, without=(), start=WEIGHTS):
    return Arguments(out, config.model_copy(update={"without": without}), False, None, 1, start)


def test_weights_that_saw_a_concept_are_no_start_without_it(tmp_path, config):
    assert warm.left_out(WEIGHTS) == ()
    assert warm.may_start(arguments(tmp_path, config), "unet")
    assert not warm.may_start(arguments(tmp_path, config, ("dog",)), "unet")
    assert not warm.may_start(arguments(tmp_path, config, start=None), "unet")
    assert not warm.may_start(arguments(tmp_path, config), "llava")
    (tmp_path / "emoji-sd").mkdir()
    (tmp_path / "training.json").write_text(json.dumps({"without": ["dog", "ink"]}))
    late = arguments(tmp_path, config, ("dog",), tmp_path)
    assert warm.may_start(late, "unet")
    assert warm.starts_afresh(late.config, tmp_path) == warm.starts_afresh(late.config, None) == ""
    told = warm.starts_afresh(config.model_copy(update={"without": ("cat", "dog")}), tmp_path)
    assert told == f"{tmp_path} saw cat: text, judge, unet start afresh"


def test_a_text_encoder_is_not_taken_from_weights_that_saw_what_is_left_out(tmp_path):
    alone = TrainConfig.load(UNET_ALONE)
    assert all(warm.is_taken(WEIGHTS, alone, stage) for stage in ("tokenizer", "vae", "text"))
    late = alone.model_copy(update={"without": ("dog",)})
    assert [warm.is_taken(WEIGHTS, late, stage) for stage in ("tokenizer", "vae", "text")] == [True, True, False]
    assert [len(Run(tmp_path, one, WEIGHTS).environments("text")) for one in (alone, late)] == [1, 2]
    assert warm.starts_afresh(late, WEIGHTS) == f"{WEIGHTS} saw dog: text, unet start afresh"
    assert not warm.is_taken(None, alone, "text")


def test_a_warm_start_takes_what_fits(tmp_path, config, capsys):
    from unlearnbench_emojiworld.train import vae

    config = config.model_copy(update={"start": Start(warm={"vae": 0.25, "unet": 0.5})})
    module = vae.build(config.vae, 64)
    assert warm.warm(module, arguments(tmp_path, config), "vae")
    given = warm.read(WEIGHTS / "emoji-sd" / "vae")
    assert all(torch.equal(value, given[name]) for name, value in module.state_dict().items())
    wide = vae.build(config.vae.model_copy(update={"channels": (32, 64, 192)}), 64)
    fresh = wide.state_dict()["decoder.conv_in.weight"].clone()
    assert warm.warm(wide, arguments(tmp_path, config), "vae")
    assert torch.equal(wide.state_dict()["decoder.conv_in.weight"], fresh)
    assert torch.equal(wide.state_dict()["encoder.conv_in.weight"], given["encoder.conv_in.weight"])
    rate = warm.gentle(config.vae, arguments(tmp_path, config), "vae").learning_rate
    assert rate == config.vae.learning_rate * 0.25
    with pytest.raises(PrerequisiteError, match="holds no weights"):
        warm.read(tmp_path)


def test_the_arithmetic_is_the_one_that_was_chosen():
    try:
        arithmetic.choose("bfloat16")
        with arithmetic.mixed():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16
        arithmetic.choose("float32")
        with arithmetic.mixed():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32
    finally:
        arithmetic.choose("float32")
    assert arithmetic.faster() in ("float32", "bfloat16")
