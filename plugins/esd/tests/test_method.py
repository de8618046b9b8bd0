"""The method on a small Stable Diffusion, through the interface that the harness uses."""

from functools import partial

import pytest
import torch
from pydantic import ValidationError

from unlearnbench.api import EditPair, ForgetConcept, ModelInfo, Request
from unlearnbench.errors import UserError
from unlearnbench.testing import edit_context, sd14_shaped, tiny_model, try_edit
from unlearnbench_esd import method as module
from unlearnbench_esd.buffer import Points
from unlearnbench_esd.layers import trained
from unlearnbench_esd.method import ESD, encode, step
from unlearnbench_esd.params import ESDParams
from unlearnbench_esd.student import Student, Teacher
from unlearnbench_esd.trajectory import in_parts

CAT = ForgetConcept(
    id="cat",
    kind="object",
    name="cat",
    target="dog",
    pairs=(
        EditPair(prompt="a photo of a cat", target="a photo of a dog"),
        EditPair(prompt="a red cat in the rain", target="a red dog in the rain"),
    ),
)
BEACH = ForgetConcept(id="beach", kind="scene", name="beach", target="city")
REQUEST = Request(forget=(CAT,))
FAST = {"iterations": 3, "sampling_steps": 3, "learning_rate": 1e-3}
METHODS = ["esd-x", "esd-x-strict", "esd-u", "esd-all", "selfattn"]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def run(model, request=REQUEST, seed=0, **params):
    return try_edit(ESD(ESDParams(**(FAST | params))), model, request, seed)


def points_of(model, n=8, seed=0):
    """Make noisy latents, and the teacher's predictions of them for 'cat' and ''."""
    g = torch.Generator().manual_seed(seed)
    latents, timesteps = torch.randn(n, 4, 8, 8, generator=g), torch.randint(1000, (n,), generator=g)
    cat, empty = (model.encode([text]).states.expand(n, -1, -1) for text in ("cat", ""))
    teacher = Teacher(model.unet)
    return latents, timesteps, teacher(latents, timesteps, cat), teacher(latents, timesteps, empty), cat


# ---------------------------------------------------------------- the tests of the specification
def test_t_esd_2_nothing_is_learnt_where_student_and_target_agree(model):
    nothing = Request(forget=(ForgetConcept(id="nothing", kind="object", name="", target=""),))
    _, report = run(model, nothing, eta=0.0, iterations=1)
    assert report["losses"][0] < 1e-10
    _, report = run(model, eta=0.0, iterations=1)
    assert report["losses"][0] > 1e-8


@pytest.mark.parametrize("train_method", METHODS)
def test_t_esd_4_exactly_the_chosen_layers_change(model, train_method):
    changed, report = run(model, train_method=train_method)
    chosen = trained(model.unet, train_method)
    assert {name.removeprefix("unet.") for name in changed} <= set(chosen)
    # softmax does not see what a bias adds to all keys, and there is none: every chosen tensor gets a gradient
    assert set(changed) == {f"unet.{name}" for name in chosen}
    assert all(bool(tensor.isfinite().all()) for tensor in changed.values())
    assert report["trained_parameters"] == sum(p.numel() for p in chosen.values())


def test_t_esd_4_only_the_copies_of_the_chosen_layers_get_a_gradient(model):
    student = Student(model.unet, trained(model.unet, "esd-x-strict"))
    x, t, _, target, text = points_of(model, n=2)
    torch.nn.functional.mse_loss(student(x, t, text), target).backward()
    assert all(master.grad is not None and master.grad.abs().max() > 0 for master in student.masters.values())
    assert all(p.grad is None and not p.requires_grad for p in model.unet.parameters())


def test_t_esd_5_the_target_has_no_gradient_and_the_teacher_never_moves(model, monkeypatch):
    before = {name: p.clone() for name, p in model.unet.named_parameters()}
    seen = []
    plain = module.step

    def watched(student, prompts, points, optimizer):
        assert not points.target.requires_grad
        assert not points.latents.requires_grad
        assert all(torch.equal(p, before[name]) for name, p in model.unet.named_parameters())
        seen.append(points)
        return plain(student, prompts, points, optimizer)

    monkeypatch.setattr(module, "step", watched)
    with torch.enable_grad():
        run(model)
    assert len(seen) == 3


def test_t_esd_6_a_step_lowers_the_loss_at_its_points(model):
    prompts = encode(model, REQUEST, ESDParams())
    x, t, concept, empty, _ = points_of(model)
    points = Points(x, t, torch.zeros(len(t), dtype=torch.int64), empty - (concept - empty))
    student = Student(model.unet, trained(model.unet, "esd-x"))
    optimizer = torch.optim.Adam(student.masters.values(), lr=1e-4)
    losses = [step(student, prompts, points, optimizer) for _ in range(5)]
    assert losses[0] > losses[1] > losses[4]


@pytest.mark.parametrize(
    "settings",
    [{"trajectories": 4}, {"sampled_by": "frozen", "trajectories": 8, "points": 3, "passes": 5, "timesteps": "exact"}],
    ids=["student", "frozen"],
)
def test_t_esd_6_the_prediction_turns_away_from_the_concept(model, settings):
    x, t, concept, empty, text = points_of(model)
    away = (concept - empty).flatten(1)
    with model.edited():
        params = ESDParams(
            train_method="esd-all", iterations=40, batch=4, learning_rate=1e-3, sampling_steps=4, **settings
        )
        ctx = edit_context()
        ESD(params).edit(model, REQUEST, ctx)
        after = Teacher(model.unet)(x, t, text)
        unconditional = Teacher(model.unet)(x, t, model.encode([""]).states.expand_as(text))
    left = ((after - empty).flatten(1) * away).sum() / away.square().sum()
    assert float(left) < 0.5  # 1 before
    guided = ((after - unconditional).flatten(1) * away).sum() / away.square().sum()
    assert float(guided) < 1.0
    losses = ctx.values["losses"]
    assert sum(losses[-10:]) < sum(losses[:10])


# ---------------------------------------------------------------- equations, step by step
def test_one_iteration_is_adam_on_the_papers_loss(model):
    """Follow one iteration with batch 1 by hand: the trajectory of the student, the target, the gradient, Adam."""
    rate, ctx = 1e-3, edit_context(4)
    changed, report = run(
        model, seed=4, iterations=1, train_method="esd-x-strict", timesteps="exact", learning_rate=rate
    )
    g = ctx.generator("trajectories", 0)
    torch.multinomial(torch.ones(1), 1, replacement=True, generator=g)
    left = int(torch.randperm(3, generator=g)[0])
    x = torch.randn(1, 4, 8, 8, generator=g)
    c, empty = model.encode(["cat"]).states, model.encode([""]).states
    steps = [1 + 333 * k for k in (2, 1, 0)]
    scheduler = module.ddim_scheduler(model, 3)
    assert scheduler.timesteps.tolist() == steps
    for t in steps[: 2 - left]:
        with torch.no_grad():
            e0, ec = model.unet(x, t, empty).sample, model.unet(x, t, c).sample
        x = scheduler.step(e0 + 3 * (ec - e0), t, x).prev_sample
    t = steps[2 - left]
    with model.edited():
        weights = {
            n: p for n, p in model.unet.named_parameters() if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))
        }
        for p in weights.values():
            p.requires_grad_(True)
        with torch.no_grad():
            e0, ec = model.unet(x, t, empty).sample, model.unet(x, t, c).sample
        loss = (model.unet(x, t, c).sample - (e0 - (ec - e0))).square().mean()
        grads = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
        assert report["losses"] == [pytest.approx(float(loss.detach()), rel=1e-3)]
        assert set(changed) == {f"unet.{name}" for name in weights}
        for name, grad in grads.items():
            # the first step of Adam moves by rate * g / (|g| + 1e-8)
            moved = changed[f"unet.{name}"] - weights[name].detach()
            clear = grad.abs() > 0.05 * grad.abs().max()
            expected = -rate * grad / (grad.abs() + 1e-8)
            torch.testing.assert_close(moved[clear], expected[clear], rtol=2e-2, atol=1e-6)


def test_the_student_samples_its_own_trajectories_and_the_frozen_model_keeps_to_its_own(model, monkeypatch):
    latents = {"student": [], "frozen": []}
    plain = module.step

    def watched(who, student, prompts, points, optimizer):
        latents[who].append(points.latents.clone())
        return plain(student, prompts, points, optimizer)

    for who in latents:
        monkeypatch.setattr(module, "step", partial(watched, who))
        run(model, sampled_by=who, learning_rate=1e-2, train_method="esd-all", iterations=6)
    same = [torch.equal(a, b) for a, b in zip(*latents.values(), strict=True)]
    assert same[0]  # the student starts as the frozen model
    assert not all(same)


def test_several_concepts_take_turns(model, monkeypatch):
    rows = []
    plain = module.step

    def watched(student, prompts, points, optimizer):
        rows.extend(points.rows.tolist())
        return plain(student, prompts, points, optimizer)

    monkeypatch.setattr(module, "step", watched)
    _, report = run(model, Request(forget=(CAT, BEACH)), iterations=20, batch=2, trajectories=40)
    assert report["prompts"] == 2
    assert 8 < sum(rows) < 32


def test_edit_prompts_can_be_erased_and_every_concept_has_the_same_weight(model):
    sky = CAT.model_copy(update={"id": "sky", "name": "sky", "pairs": (EditPair(prompt="sky", target="city"),)})
    prompts = encode(model, Request(forget=(CAT, sky)), ESDParams(edit_with="pairs"))
    assert prompts.weights.tolist() == [0.5, 0.5, 1.0]
    assert torch.equal(prompts.concept, model.encode(["a photo of a cat", "a red cat in the rain", "sky"]).states)
    assert prompts.itself
    assert torch.equal(prompts.source, prompts.concept)


def test_a_concept_can_be_erased_from_another(model, monkeypatch):
    given = []
    plain = module.step

    def watched(student, prompts, points, optimizer):
        given.append((prompts, points))
        return plain(student, prompts, points, optimizer)

    monkeypatch.setattr(module, "step", watched)
    run(model, erase_from="a red house", iterations=1, eta=0.5)
    prompts, points = given[0]
    states = model.encode(["a red house", "cat", ""]).states
    assert torch.equal(prompts.source, states[:1])
    f, c, empty = (
        in_parts(Teacher(model.unet), points.latents, points.timesteps, s[None], torch.float32) for s in states
    )
    torch.testing.assert_close(points.target, f - 1.5 * (c - empty), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- precision, determinism, state
def test_small_steps_add_up_in_half_precision():
    """In bfloat16 an Adam step of 1e-4 is lost on weights above 0.05; the single-precision copies keep it."""
    model = tiny_model()
    model.unet.to(torch.bfloat16)
    model.text_encoder.to(torch.bfloat16)
    model.dtype = torch.bfloat16
    before = {name: p.clone() for name, p in trained(model.unet, "esd-x").items()}
    changed, _ = run(model, iterations=12, learning_rate=1e-4)
    large = moved = 0
    for name, old in before.items():
        big = old.abs() > 0.06
        large += int(big.sum())
        moved += int((changed[f"unet.{name}"] != old)[big].sum()) if f"unet.{name}" in changed else 0
    assert all(t.dtype == torch.bfloat16 for t in changed.values())
    assert moved > 0.3 * large > 0
    stalled = torch.full((1,), 0.0625, dtype=torch.bfloat16)
    for _ in range(12):
        stalled -= 1e-4
    assert float(stalled) == 0.0625


def test_edits_repeat_exactly_with_one_seed_and_differ_with_another(model):
    first, _ = run(model, seed=1)
    second, _ = run(model, seed=1)
    other, _ = run(model, seed=2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_global_state_is_left_as_it_was(model):
    def state():
        return torch.get_num_threads(), torch.is_grad_enabled(), float(torch.tensor([1e-39]).double())

    torch.manual_seed(5)
    random, before = torch.get_rng_state(), state()
    run(model)
    assert torch.equal(torch.get_rng_state(), random)
    assert state() == before
    assert not model.unet.training
    assert not any(p.requires_grad for p in model.unet.parameters())


def test_training_works_where_gradients_are_switched_off(model):
    with torch.no_grad():
        changed, _ = run(model)
        assert not torch.is_grad_enabled()
    assert changed


def test_a_model_that_predicts_velocity_is_trained_too():
    changed, report = run(tiny_model(version=2), train_method="esd-x-strict")
    assert changed
    assert len(report["losses"]) == 3


def test_a_loss_that_explodes_ends_the_edit(model):
    with pytest.raises(FloatingPointError, match="learning rate"):
        run(model, train_method="esd-all", learning_rate=1.0, iterations=200)


@pytest.mark.parametrize(
    "params",
    [
        {"points": 51},
        {"points": 3, "sampling_steps": 2},
        {"eta": -1.0},
        {"train_method": "xattn"},
        {"iterations": 0},
        {"unknown": 1},
    ],
)
def test_wrong_parameters_are_refused(params):
    with pytest.raises(ValidationError):
        ESDParams(**params)


def test_supports_names_the_reason(model):
    assert ESD(ESDParams()).supports(model.info, REQUEST) is None
    other = ModelInfo.model_validate({**model.info.model_dump(), "family": "flux"})
    assert "cross-attention" in ESD(ESDParams()).supports(other, REQUEST)
    assert "beach" in ESD(ESDParams(edit_with="pairs")).supports(model.info, Request(forget=(CAT, BEACH)))


def test_a_unet_without_such_layers_is_refused(model, monkeypatch):
    monkeypatch.setattr(module, "trained", lambda unet, train_method: {})
    with pytest.raises(UserError, match="esd-x"):
        ESD(ESDParams()).edit(model, REQUEST, edit_context())


@pytest.mark.slow  # 8 GB and minutes
def test_a_whole_model_with_the_shapes_of_stable_diffusion_1_4():
    model = sd14_shaped()
    names = trained(model.unet, "esd-x")
    chosen = {name: p.clone() for name, p in names.items()}
    rest = {name: float(p.double().sum()) for name, p in model.unet.named_parameters() if name not in names}
    ctx = edit_context()
    ESD(ESDParams(iterations=2, sampling_steps=2)).edit(model, REQUEST, ctx)
    own = dict(model.unet.named_parameters())
    assert all(bool(own[name].isfinite().all()) and not torch.equal(own[name], old) for name, old in chosen.items())
    assert all(float(own[name].double().sum()) == total for name, total in rest.items())
    assert ctx.values["trained_parameters"] == 43_962_560
