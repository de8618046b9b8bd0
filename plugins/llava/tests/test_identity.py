"""Which judge `llava` is: its fingerprint, where it comes from, and which parameters it takes."""

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench_llava.evaluator import Llava
from unlearnbench_llava.params import LlavaParams


def fingerprint(folder, **params):
    return Llava(LlavaParams(model=str(folder), **params)).fingerprint()


def test_the_fingerprint_covers_every_file_that_decides(tmp_path, make_judge):
    folder = make_judge(tmp_path / "judge")
    seen = {fingerprint(folder)}
    assert seen == {fingerprint(make_judge(tmp_path / "elsewhere"))}
    (folder / "README.md").write_text("not part of the judge")
    assert fingerprint(folder) in seen
    for name in ("config.json", "processor_config.json", "tokenizer.json"):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"note": name}))
        seen.add(fingerprint(folder))
    for name in ("chat_template.jinja", "model.safetensors"):
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 1
        (folder / name).write_bytes(content)
        seen.add(fingerprint(folder))
    assert len(seen) == 6


def test_the_fingerprint_covers_what_is_asked_and_how_it_is_read(folder):
    ways = [
        {}, {"question": "kind"}, {"question": "A {display}?"}, {"opposite": True}, {"parser": "text"},
        {"parser": "tail"}, {"threshold": 0.6}, {"thresholds": {"dog": 0.6}}, {"off_set_limit": 0.6},
        {"dtype": "float16"}, {"tokens": 6},
    ]  # fmt: skip
    assert len({fingerprint(folder, **way) for way in ways}) == len(ways)
    assert fingerprint(folder, batch_size=2) == fingerprint(folder)


def test_the_fingerprint_needs_no_torch(folder):
    code = (
        "import sys; from unlearnbench_llava.evaluator import Llava; from unlearnbench_llava.params import LlavaParams;"
        f"print(Llava(LlavaParams(model={str(folder)!r})).fingerprint()); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint(folder)


# ---------------------------------------------------------------- which judge
def test_auto_is_the_shipped_judge(folder, monkeypatch):
    monkeypatch.setattr("unlearnbench.plugins.shipped_models", lambda: {"emoji-judge-llava": folder})
    assert Llava(LlavaParams()).folder == folder
    assert Llava(LlavaParams(model="emoji-judge-llava")).fingerprint() == fingerprint(folder)


def test_without_a_shipped_judge_one_must_be_named(monkeypatch):
    monkeypatch.setattr("unlearnbench.plugins.shipped_models", dict)
    with pytest.raises(PrerequisiteError, match="emoji-judge-llava") as caught:
        Llava(LlavaParams()).fingerprint()
    assert "-p llava.model=llava-hf/llava-1.5-7b-hf" in caught.value.hint


def test_an_unknown_judge_is_a_mistake(monkeypatch, folder):
    monkeypatch.setattr("unlearnbench.plugins.shipped_models", lambda: {"emoji-judge-llava": folder})
    with pytest.raises(UserError, match="no model 'emoji-judge'"):
        Llava(LlavaParams(model="emoji-judge")).fingerprint()


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llava_next", "architectures": ["LlavaNextForConditionalGeneration"]},
        {"model_type": "llava", "architectures": ["LlavaLlamaForCausalLM"]},
        {"model_type": "clip"},
        None,
    ],
)
def test_a_model_of_another_class_is_refused(tmp_path, config):
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        fingerprint(tmp_path)
    assert "llava-hf/llava-1.5-7b-hf" in caught.value.hint
    assert str(caught.value).count("\n") == 1


def test_missing_weights_are_not_made_up(tmp_path, make_judge, ready):
    from safetensors.torch import load_file, save_file

    path = make_judge(tmp_path) / "model.safetensors"
    weights = load_file(path)
    kept = {name: value for name, value in weights.items() if "multi_modal_projector.linear_2" not in name}
    assert len(kept) == len(weights) - 2
    save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="lacks weights"):
        ready(tmp_path)


# ---------------------------------------------------------------- parameters
@pytest.mark.parametrize(
    "question",
    ["Is it red?", "{description} or {display}?", "{}?", "{0}", "{target}?", "{description!r}?", "{display:>9}?", "{"],
)
def test_a_question_has_one_place(question):
    with pytest.raises(ValidationError):
        LlavaParams(question=question)


@pytest.mark.parametrize("params", [{"question": "A {display}?"}, {"parser": "text"}, {"parser": "tail"}])
def test_only_logits_of_a_form_have_an_opposite(params):
    with pytest.raises(ValidationError, match="opposite"):
        LlavaParams(opposite=True, **params)
