"""Weights that were made elsewhere end up in the model exactly, whatever their form, or are refused at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from unlearnbench.api import ForgetConcept, Params, Request
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.plugins import load_plugins
from unlearnbench.suites import load_suite
from unlearnbench.testing import Letters, edit_context, tiny_folder, tiny_model
from unlearnbench.weights import find_source, parse_weights
from unlearnbench.weights.method import Weights
from unlearnbench.weights.source import model_shapes

REQUEST = Request(forget=(ForgetConcept(id="alpha", kind="object", name="alpha", target=""),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def key(model):
    """Return the name of a cross-attention's key weight within the UNet."""
    return next(name for name, _ in model.unet.named_parameters() if name.endswith("attn2.to_k.weight"))


@pytest.fixture(scope="module")
def inner(model):
    """Return the name of a weight of the text encoder, without what stands before its layers."""
    names = (name.removeprefix("text_model.") for name, _ in model.text_encoder.named_parameters())
    return next(name for name in names if name.endswith("fc2.weight"))


def edited(path, folder, model):
    """Return what `--weights PATH` changes in the model."""
    method = Weights(Params(), {"alpha": find_source(path, folder)})
    with model.edited():
        method.edit(model, REQUEST, edit_context())
        return model.diff()


def value(model, name):
    part, _, rest = name.partition(".")
    own = dict((model.unet if part == "unet" else model.text_encoder).named_parameters())
    return (own[rest] if rest in own else own[rest.removeprefix("text_model.")]).detach().clone()


# ---------------------------------------------------------------- whole tensors
@pytest.mark.parametrize("prefix", ["", "unet."])
def test_safetensors_by_module_with_or_without_their_part(prefix, folder, model, key, tmp_path):
    new = value(model, f"unet.{key}") + 1.0
    save_file({prefix + key: new}, tmp_path / "x.safetensors")
    found = edited(tmp_path / "x.safetensors", folder, model)
    assert list(found) == [f"unet.{key}"]
    assert torch.equal(found[f"unet.{key}"], new)


@pytest.mark.parametrize("prefix", ["", "text_model.", "text_encoder.", "text_encoder.text_model."])
def test_tensors_of_the_text_encoder_in_either_layout(prefix, folder, model, inner, tmp_path):
    name = f"text_encoder.text_model.{inner}"
    new = value(model, name) * 2.0
    save_file({prefix + inner: new}, tmp_path / "x.safetensors")
    assert torch.equal(edited(tmp_path / "x.safetensors", folder, model)[name], new)


def test_a_state_dict_of_a_whole_unet_changes_what_differs(folder, model, key, tmp_path):
    state = {name: tensor.clone() for name, tensor in model.unet.state_dict().items()}
    state[key] += 1.0
    save_file(state, tmp_path / "x.safetensors")
    assert list(edited(tmp_path / "x.safetensors", folder, model)) == [f"unet.{key}"]


@pytest.mark.parametrize("whole", [True, False], ids=["pipeline", "unet"])
def test_diffusers_folders(whole, folder, model, key, tmp_path):
    copy = tmp_path / "edited"
    shutil.copytree(folder if whole else folder / "unet", copy)
    file = next((copy / "unet" if whole else copy).glob("*.safetensors"))
    state = load_file(file)
    state[key] = state[key] + 1.0
    save_file(state, file)
    found = edited(copy, folder, model)
    assert list(found) == [f"unet.{key}"]
    assert torch.equal(found[f"unet.{key}"], state[key])


def test_a_folder_with_one_file_is_that_file(folder, model, key, tmp_path):
    save_file({key: value(model, f"unet.{key}") + 1.0}, tmp_path / "anything.safetensors")
    assert list(edited(tmp_path, folder, model)) == [f"unet.{key}"]


def test_every_tensor_of_the_model_has_a_place(folder, model):
    assert set(model_shapes(folder)) == {
        *(f"unet.{n}" for n in model.unet.state_dict()),
        *(f"text_encoder.text_model.{n.removeprefix('text_model.')}" for n in model.text_encoder.state_dict()),
    }


# ---------------------------------------------------------------- low-rank factors
SPELLINGS = {
    "diffusers": ("unet.{}.lora_A.weight", "unet.{}.lora_B.weight"),
    "older diffusers": ("unet.{}.lora.down.weight", "unet.{}.lora.up.weight"),
    "peft": ("base_model.model.{}.lora_A.weight", "base_model.model.{}.lora_B.weight"),
    "peft in memory": ("base_model.model.{}.lora_A.default.weight", "base_model.model.{}.lora_B.default.weight"),
}


@pytest.fixture(scope="module")
def factors(model, key):
    """Return rank-2 factors for one weight: down [2, in], up [out, 2]."""
    out, width = value(model, f"unet.{key}").shape
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, width, generator=generator), torch.randn(out, 2, generator=generator)


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_low_rank_factors_are_multiplied_and_added(spelling, folder, model, key, factors, tmp_path):
    module = key.removesuffix(".weight")
    names = [name.format(module) for name in spelling]
    save_file(dict(zip(names, factors, strict=True)), tmp_path / "pytorch_lora_weights.safetensors")
    (found,) = edited(tmp_path, folder, model).values()
    torch.testing.assert_close(found, value(model, f"unet.{key}") + factors[1] @ factors[0])


def test_processors_of_old_diffusers(folder, model, key, factors, tmp_path):
    attention = key.removesuffix(".to_k.weight")
    names = [f"unet.{attention}.processor.to_k_lora.{role}.weight" for role in ("down", "up")]
    save_file(dict(zip(names, factors, strict=True)), tmp_path / "x.safetensors")
    assert list(edited(tmp_path / "x.safetensors", folder, model)) == [f"unet.{key}"]


def test_names_and_alpha_of_kohya(folder, model, key, factors, tmp_path):
    module = f"lora_unet_{key.removesuffix('.weight').replace('.', '_')}"
    tensors = {f"{module}.lora_down.weight": factors[0], f"{module}.lora_up.weight": factors[1]}
    save_file({**tensors, f"{module}.alpha": torch.tensor(0.5)}, tmp_path / "x.safetensors")
    (found,) = edited(tmp_path / "x.safetensors", folder, model).values()
    torch.testing.assert_close(found, value(model, f"unet.{key}") + 0.5 / 2 * factors[1] @ factors[0])


@pytest.mark.parametrize(
    ("settings", "scale"), [({"lora_alpha": 6}, 3.0), ({"lora_alpha": 6, "use_rslora": True}, 6 / 2**0.5), ({}, 1.0)]
)
@pytest.mark.parametrize("inside", [True, False], ids=["header", "beside"])
def test_the_scale_is_what_the_settings_say(inside, settings, scale, folder, model, key, factors, tmp_path):
    module = key.removesuffix(".weight")
    tensors = {f"unet.{module}.lora_A.weight": factors[0], f"unet.{module}.lora_B.weight": factors[1]}
    header = {"lora_adapter_metadata": json.dumps({f"unet.{k}": v for k, v in settings.items()})} if inside else None
    save_file(tensors, tmp_path / "adapter_model.safetensors", metadata=header)
    if not inside:
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    (found,) = edited(tmp_path, folder, model).values()
    torch.testing.assert_close(found, value(model, f"unet.{key}") + scale * factors[1] @ factors[0])


def test_factors_of_a_convolution(folder, model, tmp_path):
    name, weight = next((n, p) for n, p in model.unet.named_parameters() if n.endswith("conv1.weight"))
    down, up = torch.randn(2, *weight.shape[1:]), torch.randn(weight.shape[0], 2, 1, 1)
    module = name.removesuffix(".weight")
    save_file({f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}, tmp_path / "x.safetensors")
    (found,) = edited(tmp_path / "x.safetensors", folder, model).values()
    change = torch.einsum("or,rikl->oikl", up[:, :, 0, 0], down)
    torch.testing.assert_close(found, weight.detach() + change, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- refusals
def refused(path, folder, tensors=None, metadata=None):
    if tensors is not None:
        save_file(tensors, path, metadata=metadata)
    with pytest.raises(UserError) as error:
        find_source(path, folder)
    return str(error.value)


def test_names_that_do_not_match_are_refused_with_the_nearest(folder, key, tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {key.replace("to_k", "to_kk"): torch.zeros(2), key: torch.zeros(2)}
    assert f"the model has no {key.replace('to_k', 'to_kk')}" in refused(path, folder, dict(list(tensors.items())[:1]))
    assert "unet." in refused(path, folder, {key.replace("to_k", "to_kk"): torch.zeros(2)})
    original = {"model.diffusion_model.x.weight": torch.zeros(1), "model.diffusion_model.y.weight": torch.zeros(1)}
    message = refused(path, folder, original)
    assert "(nor 1 others)" in message
    assert "from_single_file" in message


def test_shapes_that_do_not_match_are_refused(folder, key, tmp_path):
    assert "has shape (1, 2)" in refused(tmp_path / "x.safetensors", folder, {key: torch.zeros(1, 2)})


def test_what_is_no_weights_is_refused(folder, tmp_path):
    path = tmp_path / "x.safetensors"
    assert "holds no tensor" in refused(path, folder, {})
    path.write_text("no tensors at all")
    assert "cannot be read as safetensors" in refused(path, folder)
    pickle = tmp_path / "x.pt"
    pickle.write_bytes(b"")
    assert "never loaded" in refused(pickle, folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no safetensors" in refused(empty, folder)
    with pytest.raises(PrerequisiteError, match="there are no weights"):
        find_source(tmp_path / "nowhere", folder)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: t.pop("up"), "lacks one of its two factors"),
        (lambda t: t.update(up=torch.zeros(3, 2)), "do not make"),
        (lambda t: t.update(magnitude=torch.zeros(3)), "is no low-rank factor"),
    ],
)
def test_factors_that_are_not_whole_are_refused(change, what, folder, key, factors, tmp_path):
    module = key.removesuffix(".weight")
    parts = {"down": factors[0], "up": factors[1]}
    change(parts)
    names = {"down": "lora_A.weight", "up": "lora_B.weight", "magnitude": "lora_magnitude_vector"}
    tensors = {f"{module}.{names[part]}": tensor for part, tensor in parts.items()}
    assert what in refused(tmp_path / "x.safetensors", folder, tensors)


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"lora_alpha": 2, "alpha_pattern": {"to_k": 4}}])
def test_adapters_of_another_kind_are_refused(settings, folder, key, factors, tmp_path):
    module = key.removesuffix(".weight")
    tensors = {f"{module}.lora_A.weight": factors[0], f"{module}.lora_B.weight": factors[1]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    assert "merge the adapter" in refused(tmp_path / "adapter_model.safetensors", folder, tensors)


def test_other_content_is_another_digest(folder, key, model, tmp_path):
    path, weight = tmp_path / "x.safetensors", value(model, f"unet.{key}")
    digests = []
    for number in range(2):
        save_file({key: weight + number}, path)
        digests.append(find_source(path, folder).digest)
    assert len(set(digests)) == 2


# ---------------------------------------------------------------- the command
def test_an_edit_of_ours_gets_the_row_that_its_method_gets(fake, call, tmp_path):
    out = tmp_path / "edit"
    made = call(
        "edit", "-m", "shift", "-c", "alpha", "--dataset", "letters", "--model", "tiny", "-o", out, "--device", "cpu",
        "-p", "amount=0.5",
    )  # fmt: skip
    assert made[0] == 0, made[2]
    common = ("run", "letters-quick", "-c", "alpha", "--device", "cpu", "-f", "csv")
    code, table, err = call(*common, "-m", "shift", "--weights", out, "--label", "by-hand")
    assert code == 0, err
    rows = {tuple(line.split(",")[:2]): line.split(",")[2:] for line in table.splitlines()}
    assert rows["by-hand", "forget"] == rows["shift", "forget"]
    assert rows["by-hand", "retain"] == rows["shift", "retain"]
    code, _, err = call(*common, "--weights", out, "--label", "by-hand")
    assert code == 0
    assert "edit" not in err.partition("scores:")[0]  # it is stored
    code, table, err = call(*common, "--weights", out, "--label", "retrained", "--control")
    assert code == 0, err
    kept = {tuple(line.split(",")[:2]): line.split(",")[2:] for line in table.splitlines()}
    assert kept["retrained", "forget"][0] == rows["shift", "forget"][0]
    assert (kept["method", "column"][-2], kept["retrained", "forget"][-2], kept["shift", "forget"][-2]) == (
        "control", "true", "false",
    )  # fmt: skip


def test_one_file_may_forget_several_concepts_together(fake, tmp_path):
    suite = load_suite(load_plugins(), "letters-quick")
    together = suite.model_copy(update={"several": "together"})
    assert parse_weights(["x"], together, Letters()) == {"alpha": Path("x"), "beta": Path("x")}
    assert parse_weights(["beta=y", "alpha=x"], suite, Letters()) == {"alpha": Path("x"), "beta": Path("y")}


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        ("--weights {x}", 2, "the suite forgets 2 concepts"),
        ("--weights alpha={x}", 2, "there are no --weights for beta"),
        ("-c alpha --weights beta={x}", 2, "beta is not forgotten"),
        ("-c alpha --weights alpha={x} --weights alpha={x}", 2, "names alpha twice"),
        ("-c alpha --weights alfa={x}", 2, "unknown concept 'alfa'"),
        ("--sequence --weights {good}", 2, "weights from elsewhere are one edit"),
        ("--together --weights alpha={x} --weights beta={x}", 2, "weights from elsewhere are one edit"),
        ("-c alpha --weights nowhere", 3, "there are no weights nowhere"),
        ("-c alpha --weights {x}", 2, "the model has no strange"),
        ("-c alpha --control", 2, "--control is about a row of --weights"),
        ("-c alpha --weights {good} --label shift", 2, "there is a method 'shift'"),
        ("-c alpha --weights {good} --label A/B", 2, "--label A/B"),
    ],
)
def test_mistakes_are_two_lines_and_make_nothing(fake, call, tmp_path, key, model, arguments, code, what):
    bad, good, store = tmp_path / "x.safetensors", tmp_path / "good.safetensors", tmp_path / "s"
    save_file({"strange": torch.zeros(1)}, bad)
    save_file({key: value(model, f"unet.{key}") + 1.0}, good)
    words = arguments.format(x=bad, good=good).split()
    found, out, err = call("run", "letters-quick", *words, "--store", store)
    assert (found, out) == (code, "")
    assert what in err.splitlines()[0]
    assert not store.exists()
