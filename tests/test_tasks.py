"""What methods are asked to do: images and attributes of a data set reach requests, questions and keys."""

from __future__ import annotations

import csv
import io
import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from unlearnbench.api import Attribute, Concept, DataImage, ForgetConcept, ModelInfo, Request
from unlearnbench.errors import UserError
from unlearnbench.identity import canonical_json
from unlearnbench.images import digest_pixels
from unlearnbench.run.request import make_question, make_request
from unlearnbench.testing import Letters, Shift, ShiftParams

SIZES = (Attribute(id="big", display="a big one", prompt="a big alpha", desired=0.5),
         Attribute(id="small", display="a small one", prompt="a small alpha", desired=0.5))  # fmt: skip


def colour(name, size=(4, 4)):
    return Image.new("RGB", size, name)


def image(name, concept=""):
    return DataImage.lazily(partial(colour, name), id=name, caption=f"all {name}", concept=concept)


class Pictured(Letters):
    """Letters with attributes of alpha and training images of alpha and beta."""

    @property
    def concepts(self):
        found = dict(super().concepts)
        return found | {"alpha": found["alpha"].model_copy(update={"attributes": SIZES})}

    def images(self, split):
        if split == "heldout":
            return (image("gold"),)
        return (image("red", "alpha"), image("blue", "beta"), image("green"), image("pink"))


# ---------------------------------------------------------------- images
def test_an_image_is_told_by_its_pixels_and_its_words():
    assert image("red") == image("red")
    assert len({image("red"), image("red"), image("blue"), image("red", "alpha")}) == 3
    assert image("red").digest == digest_pixels(Image.new("RGBA", (4, 4), "red"))
    assert digest_pixels(colour("red", (2, 8))) != digest_pixels(colour("red", (8, 2)))
    assert DataImage.model_validate_json(image("red").model_dump_json()) == image("red")


def test_pixels_are_read_when_they_are_asked_for():
    asked = []

    def source():
        asked.append(1)
        return colour("red").convert("P")

    lazy = DataImage.lazily(source, id="red", digest=digest_pixels(colour("red")))
    request = Request(
        task="data", forget=(ForgetConcept(id="x", kind="object", name="x", target=""),), forget_images=(lazy,)
    )
    canonical_json(request)
    assert not asked
    assert request.forget_images[0].load().tobytes() == colour("red").tobytes()
    assert request.model_copy(deep=True).forget_images[0].load().mode == "RGB"
    assert len(asked) == 2


def test_other_pixels_than_planned_are_refused():
    changed = DataImage.lazily(partial(colour, "blue"), id="red", digest=digest_pixels(colour("red")))
    with pytest.raises(ValueError, match="red"):
        changed.load()
    with pytest.raises(RuntimeError, match="data set"):
        DataImage.model_validate_json(image("red").model_dump_json()).load()


@given(st.integers(1, 5), st.integers(1, 5), st.binary(min_size=75, max_size=75))
def test_the_digest_depends_on_every_pixel(width, height, data):
    picture = Image.frombytes("RGB", (width, height), data[: 3 * width * height])
    other = picture.copy()
    other.putpixel((width - 1, height - 1), tuple(255 - v for v in picture.getpixel((width - 1, height - 1))))
    assert digest_pixels(picture) == digest_pixels(picture.copy())
    assert digest_pixels(picture) != digest_pixels(other)


# ---------------------------------------------------------------- requests and questions
def test_a_request_to_erase_says_nothing_that_it_did_not_say_before():
    request, question = make_request(Pictured(), ["alpha"]), make_question(Pictured(), Pictured().concepts["alpha"])
    assert set(request.model_dump(mode="json")) == {"task", "forget", "retain", "retain_names"}
    assert set(request.model_dump(mode="json")["forget"][0]) == {"id", "kind", "name", "aliases", "target", "pairs"}
    assert request == make_request(Letters(), ["alpha"])
    assert question == make_question(Letters(), Letters().concepts["alpha"])
    assert {"attributes", "images", "others"}.isdisjoint(question.model_dump())
    assert "attributes" not in Letters().concepts["alpha"].model_dump()
    assert list(Letters().images("train")) == []


def test_data_unlearning_forgets_the_images_of_the_concept_and_retains_the_others():
    request = make_request(Pictured(), ["alpha"], "data")
    assert [i.id for i in request.forget_images] == ["red"]
    assert [i.id for i in request.retain_images] == ["blue", "green", "pink"]
    assert request == make_request(Pictured(), ["alpha"], "data")
    assert json.loads(canonical_json(request))["forget_images"][0]["caption"] == "all red"
    both = make_request(Pictured(), ["alpha", "beta"], "data")
    assert [i.id for i in both.forget_images] == ["red", "blue"]
    question = make_question(Pictured(), Pictured().concepts["alpha"], "data")
    assert [i.id for i in question.images] == ["red"]
    assert [i.id for i in question.others] == ["blue", "green", "pink"]
    plain = make_question(Pictured(), Pictured().concepts["gamma"], "data")
    assert not plain.images
    assert not plain.others


def test_debiasing_gets_the_attributes():
    request = make_request(Pictured(), ["alpha"], "debias")
    assert request.forget[0].attributes == SIZES
    assert not request.forget_images
    assert make_question(Pictured(), Pictured().concepts["alpha"], "debias").attributes == SIZES
    assert not make_question(Pictured(), Pictured().concepts["beta"], "debias").attributes


@pytest.mark.parametrize(("concept", "task"), [("gamma", "data"), ("beta", "debias")])
def test_what_the_task_needs_must_be_there(concept, task):
    with pytest.raises(UserError, match=concept):
        make_request(Pictured(), [concept], task)


@pytest.mark.parametrize("shares", [(0.5,), (0.5, 0.6), (1.0,)])
def test_desired_shares_sum_to_one(shares):
    attributes = [SIZES[0].model_copy(update={"desired": share}).model_dump() for share in shares]
    with pytest.raises(ValidationError, match="sum to 1"):
        Concept.model_validate({**Letters().concepts["alpha"].model_dump(), "attributes": attributes})


# ---------------------------------------------------------------- methods
def test_a_method_is_asked_for_its_tasks_only():
    info = ModelInfo(id="x", fingerprint="ub1:x", family="sd", text_width=1, text_layers=1, text_positions=1,
                     latent_size=1, parameters=1)  # fmt: skip
    method = Shift(ShiftParams())
    erase = make_request(Pictured(), ["alpha"])
    assert method.refusal(info, erase) is None
    assert method.refusal(info, erase.model_copy(update={"task": "moderate"})) is None
    assert "'debias'" in method.refusal(info, make_request(Pictured(), ["alpha"], "debias"))
    assert "flux" in method.refusal(info.model_copy(update={"family": "flux"}), erase)


def test_a_suite_of_another_task_skips_the_methods_that_do_not_do_it(fake_plugins, run_unlearnbench, tmp_path):
    suite = tmp_path / "letters-debias.toml"
    text = quick().read_text(encoding="utf-8")
    suite.write_text(text.replace('name = "letters-quick"', 'name = "letters-debias"\ntask = "moderate"'))
    done = run_unlearnbench("run", suite, "--method", "shift", "-p", "amount=0.01", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    suite.write_text(text.replace('name = "letters-quick"', 'name = "letters-debias"\ntask = "debias"'))
    done = run_unlearnbench("run", suite, "--method", "shift", "--device", "cpu")
    assert done.exit_code == 2
    assert "no attributes to balance for alpha" in done.stderr


def quick():
    from pathlib import Path

    import unlearnbench.testing

    return Path(unlearnbench.testing.__file__).with_name("letters-quick.toml")


# ---------------------------------------------------------------- whole runs
DATASET = """
from functools import partial

from PIL import Image

from unlearnbench.api import Attribute, DataImage, DatasetSpec, hookimpl
from unlearnbench.testing import Letters


@hookimpl
def unlearnbench_datasets():
    return [DatasetSpec("pictured", "unlearnbench_pictured:Pictured", "letters with images", "1", "CC0-1.0")]


def image(name, concept=""):
    draw = partial(Image.new, "RGB", (16, 16), name)
    return DataImage.lazily(draw, id=name, caption=f"all {name}", concept=concept)


class Pictured(Letters):
    @property
    def concepts(self):
        sizes = tuple(Attribute(id=n, display=f"a {n} one", prompt=f"a {n} one", desired=0.5) for n in ("big", "small"))
        return {k: c.model_copy(update={"attributes": sizes}) for k, c in super().concepts.items()}

    def images(self, split):
        if split == "heldout":
            return (image("gold"), image("navy"))
        return (image("red", "alpha"), image("blue", "beta"), image("green"), image("pink"))
"""


@pytest.fixture
def suite(install, fake_plugins, tmp_path):
    """Install a data set with images and attributes; return a function that writes a suite of a task."""
    install("unlearnbench-pictured", DATASET)

    def write(task, evaluator, columns):
        text = quick().read_text(encoding="utf-8")
        for old, new in (
            ('"letters-quick"', f'"letters-{task}"\ntask = "{task}"'), ('dataset = "letters"', 'dataset = "pictured"'),
            ('forget = ["alpha", "beta"]', 'forget = ["alpha"]'), ('name = "brightness"', f'name = "{evaluator}"'),
            ('"forget", "retain", "harmonic_mean", "edit_seconds"', ", ".join(f'"{c}"' for c in columns)),
        ):  # fmt: skip
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / f"letters-{task}.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_data_unlearning_reaches_the_board_and_the_report_of_losses(suite, run_unlearnbench, capsys):
    from unlearnbench_memorisation.__main__ import main

    path = suite("data", "memorisation", ("forget", "retain", "nearest_distance"))
    fast = ("-p", "iterations=1", "-p", "accumulation=1")
    done = run_unlearnbench("run", path, "-m", "naive-deletion", *fast, "--device", "cpu", "-f", "csv")
    assert done.exit_code == 0, done.stderr
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    values = {(line["method"].partition("[")[0], line["column"]): line["value"] for line in lines}
    for method in ("unedited", "naive-deletion"):
        assert 0 < float(values[method, "nearest_distance"]) < 1
        assert 0 <= float(values[method, "forget"]) <= 1
    assert main([str(path), "--device", "cpu"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["method"], row["concept"]) == ("unedited", "alpha")
    assert all(row[name] > 0 for name in ("forget", "retain", "heldout"))
    assert 0 <= row["membership"] <= 1


def test_debiasing_reaches_the_board(suite, run_unlearnbench):
    path = suite("debias", "clip-attributes", ("delta", "delta_corrected", "delta_floor", "shown"))
    fast = (
        "-p",
        "uce.iterations=1",
        "-p",
        "uce.images=1",
        "-p",
        "uce.sampling_steps=1",
        "-p",
        "clip-attributes.concept_first=false",
    )
    done = run_unlearnbench("run", path, "-m", "uce", *fast, "-m", "shift", "--device", "cpu", "-f", "csv")
    assert done.exit_code == 0, done.stderr
    assert "unedited,delta," in done.stdout
    assert "the task is 'debias'" in done.stderr
