"""Methods that are broken on purpose: the gate of the harness catches each, and says what is wrong with it."""

from __future__ import annotations

import json

import pytest
import torch

from unlearnbench.api import EditPair, ForgetConcept, Method, Params, Request, Sampling
from unlearnbench.edits import cpu_copy, read_edit, same_bits
from unlearnbench.progress import Reporter
from unlearnbench.run.look import look
from unlearnbench.run.stages import run_edit
from unlearnbench.spec import EditTask, Origin
from unlearnbench.testing import tiny_model
from unlearnbench.verdict import stored_verdict

KEYS = ("unet.*.attn2.to_k.weight",)
PAIR = EditPair(prompt="a photo of a cat", target="a photo of a dog")
CAT = ForgetConcept(id="cat", kind="object", name="cat", target="dog", pairs=(PAIR,))
REQUEST = Request(forget=(CAT,), retain=("a red apple", "the sun in a blue sky"))


class Sound(Method[Params]):
    """Moves the keys a little."""

    params_type = Params

    @torch.no_grad()
    def edit(self, model, request, ctx):
        for name, module in model.cross_attention().items():
            weight = module.to_k.weight
            weight.add_(0.1 * torch.randn(weight.shape, generator=ctx.generator(name)))


def first_key(model):
    return next(iter(model.cross_attention().values())).to_k


class NoOp(Method[Params]):
    params_type = Params

    def edit(self, model, request, ctx):
        pass


class TinyStep(Sound):
    def edit(self, model, request, ctx):
        with torch.no_grad():
            first_key(model).weight.mul_(1 + 1e-5)


class NotANumber(Sound):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        with torch.no_grad():
            first_key(model).weight[0, 0] = float("nan")


class HalfPrecision(Sound):
    """Solves in half precision, where 300² is infinite."""

    def edit(self, model, request, ctx):
        with torch.no_grad():
            half = (300.0 * torch.ones_like(first_key(model).weight)).half()
            first_key(model).weight.add_((half * half).float())


class GradModeOff(Sound):
    def edit(self, model, request, ctx):
        torch.set_grad_enabled(False)
        super().edit(model, request, ctx)


class GradientsLeftOn(Sound):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        first_key(model).weight.requires_grad_(True)


class TrainModeLeftOn(Sound):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        model.unet.train()


class DefaultDtype(Sound):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        torch.set_default_dtype(torch.float64)


class WrongTensor(Sound):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        with torch.no_grad():
            model.unet.conv_out.weight.mul_(1.01)


class WrongBuffer(Sound):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        model.text_encoder.get_buffer("embeddings.position_ids").add_(-1).clamp_(min=0)


class SavedBuffer(Sound):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        model.unet.get_buffer("scale").mul_(2.0)


class MutatedBase(Sound):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        with torch.no_grad():
            model.vae.decoder.conv_out.bias.add_(1.0)


class NewWord(Sound):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        model.tokenizer.add_tokens(["<cat>"])


class OtherDtype(Sound):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        first_key(model).half()


class OtherShape(Sound):
    def edit(self, model, request, ctx):
        layer = first_key(model)
        layer.weight = torch.nn.Parameter(layer.weight[:, :-1].clone(), requires_grad=False)


class HookLeft(Sound):
    def edit(self, model, request, ctx):
        super().edit(model, request, ctx)
        model.unet.register_forward_hook(lambda *_: None)


class Destroys(Sound):
    def edit(self, model, request, ctx):
        with torch.no_grad():
            for module in model.cross_attention().values():
                module.to_k.weight.normal_(std=50.0, generator=ctx.generator("destroy"))


class Rewrites(NoOp):
    def edit(self, model, request, ctx):
        return Sampling(rewrite={"a word that nobody uses": "another"})


class Negative(NoOp):
    def edit(self, model, request, ctx):
        return Sampling(negative_prompt="a cat")


def edit(method, model, tmp_path, edits=KEYS):
    (tmp_path / "out").mkdir()
    task = EditTask(
        method="broken",
        origin=Origin(distribution="unlearnbench-broken", version="1", source="ub1:"),
        params={},
        request=REQUEST,
        model=model.info.fingerprint,
        seed=0,
    )
    return run_edit(method(Params()), task, model, tmp_path / "out", tmp_path, Reporter(), edits=edits)


BROKEN = {
    NoOp: ("no-op", "no tensor has another value than before"),
    TinyStep: ("no-op", "the answers to the edit prompts moved by"),
    Destroys: ("collapsed", "the answers to the retain prompts moved"),
    NotANumber: ("broken", "there is NaN or infinity: unet."),
    HalfPrecision: ("broken", "there is NaN or infinity: unet."),
    GradModeOff: ("broken", "it leaves global state changed: torch's grad mode changed from True to False"),
    GradientsLeftOn: ("broken", "it leaves modes changed: requires_grad of unet."),
    TrainModeLeftOn: ("broken", "it leaves modes changed: training mode of unet is True"),
    DefaultDtype: ("broken", "it leaves global state changed: torch's default dtype"),
    WrongTensor: ("broken", "it changes tensors that the method does not declare: unet.conv_out.weight"),
    WrongBuffer: ("broken", "it changes the base model where no edit file reaches: text_encoder."),
    MutatedBase: ("broken", "it changes the base model where no edit file reaches: vae.decoder.conv_out.bias changed"),
    NewWord: ("broken", "it changes the base model where no edit file reaches: the vocabulary of the tokenizer"),
    OtherDtype: ("broken", "it leaves tensors of another form: unet."),
    OtherShape: ("broken", "it leaves tensors of another form: unet."),
    HookLeft: ("broken", "it leaves other modules, attention processors or hooks: unet changed"),
}


@pytest.mark.parametrize("method", BROKEN, ids=lambda method: method.__name__)
def test_a_broken_method_is_caught_by_name(method, tmp_path):
    word, reason = BROKEN[method]
    model = tiny_model()
    made = edit(method, model, tmp_path)
    assert (made.verdict.word, made.verdict.reason[: len(reason)]) == (word, reason)
    assert stored_verdict(tmp_path / "out") == made.verdict
    assert read_edit(tmp_path / "out" / "edit.safetensors").verdict == made.verdict
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32


def test_a_changed_buffer_is_no_weight(tmp_path):
    model = tiny_model()
    model.unet.register_buffer("scale", torch.ones(3))
    made = edit(SavedBuffer, model, tmp_path, edits=("unet.*",))
    assert made.verdict.reason == "it changes buffers, which are no weights: unet.scale"


def test_a_sound_method_is_ok_and_its_figures_are_stored(tmp_path):
    made = edit(Sound, tiny_model(), tmp_path)
    assert made.verdict.word == "ok"
    assert made.verdict.faults == ()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["left_changed"] == []
    assert set(report["changes"]) == set(made.tensors)
    assert report["verdict"]["effects"]["change_rank"] == 32


@pytest.mark.parametrize("method", [Rewrites, Negative])
def test_a_method_that_acts_at_inference_is_ok(method, tmp_path):
    assert edit(method, tiny_model(), tmp_path).verdict.word == "ok"


def test_the_random_state_is_put_back_and_is_no_fault(tmp_path):
    class Draws(Sound):
        def edit(self, model, request, ctx):
            torch.manual_seed(7)
            super().edit(model, request, ctx)

    state = torch.get_rng_state()
    made = edit(Draws, tiny_model(), tmp_path)
    assert made.verdict.word == "ok"
    assert torch.equal(torch.get_rng_state(), state)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["left_changed"] == ["torch's global random state changed"]


def test_what_a_method_declares_nothing_of_is_not_checked(tmp_path):
    assert edit(WrongTensor, tiny_model(), tmp_path, edits=None).verdict.word == "ok"


def test_tensors_that_a_method_ties_together_are_untied(tmp_path):
    class Ties(Sound):
        def edit(self, model, request, ctx):
            layers = [module.to_k for module in model.cross_attention().values()]
            same = [layer for layer in layers if layer.weight.shape == layers[0].weight.shape]
            same[1].weight.data = same[0].weight.data
            with torch.no_grad():
                same[0].weight.add_(0.1)

    model = tiny_model()
    before = {name: cpu_copy(tensor) for name, tensor in model.tensors().items()}
    seen = look(model)
    edit(Ties, model, tmp_path)
    assert all(same_bits(tensor, before[name]) for name, tensor in model.tensors().items())
    assert look(model) == seen
