"""Partial trajectories, timesteps of the loss, and the buffer that hands them out."""

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnbench.testing import tiny_model
from unlearnbench_esd import trajectory
from unlearnbench_esd.buffer import Buffer, Filler, Points, Prompts
from unlearnbench_esd.params import ESDParams
from unlearnbench_esd.student import Teacher
from unlearnbench_esd.trajectory import ddim_scheduler, loss_timesteps, sample_points


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("guidance", [3.0, 1.0, 0.0])
def test_points_lie_on_the_trajectory_of_diffusers(model, guidance):
    prompts = ["a photo of a cat", "a red dog"]
    noise, text, empty = gaussian(2, 4, 8, 8), model.encode(prompts).states, model.encode([""]).states
    wanted = torch.tensor([[5, 2], [0, 3]])
    scheduler = ddim_scheduler(model, 6)
    ours = sample_points(Teacher(model.unet), scheduler, noise, text, empty, wanted, guidance=guidance)

    stock = DDIMScheduler.from_config(model.scheduler.config)
    stock.set_timesteps(6)
    for number in range(2):
        x, seen = noise[number : number + 1], {}
        for left, t in zip(range(5, -1, -1), stock.timesteps, strict=True):
            seen[left] = x
            with torch.no_grad():
                e0 = model.unet(x, t, empty).sample
                ec = model.unet(x, t, text[number : number + 1]).sample
            x = stock.step(e0 + guidance * (ec - e0), t, x).prev_sample
        for place, left in enumerate(wanted[number].tolist()):
            torch.testing.assert_close(ours[number, place], seen[left][0], rtol=1e-4, atol=1e-4)


def test_a_trajectory_ends_at_its_last_point(model):
    rows = []

    def predict(latents, timesteps, text):
        rows.append(len(latents))
        return torch.zeros_like(latents)

    text, empty = model.encode(["cat"] * 3).states, model.encode([""]).states
    wanted = torch.tensor([[9], [7], [4]])
    sample_points(predict, ddim_scheduler(model, 10), gaussian(3, 4, 8, 8), text, empty, wanted, guidance=3.0)
    assert rows == [
        4,
        4,
        2,
        2,
        2,
    ]  # a point is free where its trajectory begins; both branches of guidance are one call


def test_no_call_has_more_rows_than_memory_allows(model, monkeypatch):
    monkeypatch.setattr(trajectory, "ROWS", 4)
    sizes = []

    def predict(latents, timesteps, text):
        assert len(latents) == len(timesteps) == len(text)
        sizes.append(len(latents))
        return latents * 2

    x = gaussian(10, 4, 8, 8)
    out = trajectory.in_parts(predict, x, torch.arange(10), torch.zeros(10, 3, 3), torch.float32)
    assert sizes == [4, 4, 2]
    assert torch.equal(out, x * 2)


@settings(max_examples=25, deadline=None)
@given(steps=st.sampled_from([1, 7, 10, 50]), seed=st.integers(0, 100))
def test_t_of_the_loss_lies_between_two_steps_of_the_sampler(steps, seed):
    scheduler = DDIMScheduler(timestep_spacing="leading", steps_offset=1)
    scheduler.set_timesteps(steps)
    left = torch.arange(steps)
    generator = torch.Generator().manual_seed(seed)
    exact = loss_timesteps(left, scheduler, exact=True, generator=generator)
    drawn = loss_timesteps(left, scheduler, exact=False, generator=generator)
    assert exact.tolist() == scheduler.timesteps.flip(0).tolist()
    assert (drawn // (1000 // steps)).tolist() == left.tolist()
    assert (exact // (1000 // steps)).tolist() == left.tolist()


def test_t_of_the_loss_covers_its_interval_evenly():
    scheduler = DDIMScheduler(timestep_spacing="leading", steps_offset=1)
    scheduler.set_timesteps(50)
    t = loss_timesteps(torch.full((20_000,), 3), scheduler, exact=False, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(t, minlength=1000)
    assert (int(t.min()), int(t.max())) == (60, 79)
    assert counts[60:80].min() > 850


def test_models_of_zero_signal_to_noise_ratio_start_at_their_last_timestep(model, monkeypatch):
    assert int(ddim_scheduler(model, 50).timesteps[0]) == 981
    zero = DDIMScheduler.from_config(model.scheduler.config, rescale_betas_zero_snr=True)
    monkeypatch.setattr(model, "scheduler", zero)
    scheduler = ddim_scheduler(model, 50)
    assert int(scheduler.timesteps[0]) == 999
    left = torch.arange(50)
    assert (loss_timesteps(left, scheduler, exact=True, generator=None) * 50 // 1000).tolist() == left.tolist()


# ---------------------------------------------------------------- filling and handing out
def filler(model, **params):
    states = model.encode(["cat", "dog", ""]).states
    prompts = Prompts(states[:2], states[:2], states[2:], torch.tensor([0.5, 0.5]), itself=True)
    params = ESDParams(sampling_steps=5, **params)
    teacher = Teacher(model.unet)
    return Filler(params, prompts, ddim_scheduler(model, 5), teacher, teacher, (4, 8, 8))


def test_targets_are_the_teachers_predictions_at_the_points(model):
    fill = filler(model, trajectories=3, points=2, eta=0.7)
    points = fill(torch.Generator().manual_seed(1))
    assert points.latents.shape == points.target.shape == (6, 4, 8, 8)
    assert torch.equal(points.rows[::2], points.rows[1::2])
    empty, texts = fill.prompts.empty, fill.prompts.concept
    for x, t, row, target in zip(points.latents, points.timesteps, points.rows, points.target, strict=True):
        with torch.no_grad():
            e0 = model.unet(x[None], t, empty).sample[0]
            ec = model.unet(x[None], t, texts[row][None]).sample[0]
        torch.testing.assert_close(target, e0 - 0.7 * (ec - e0), rtol=1e-4, atol=1e-5)


def test_the_teacher_is_asked_in_one_call_and_every_trajectory_gives_several_points(model):
    fill, calls = filler(model, trajectories=2, points=4), []
    teacher = fill.teacher

    def counted(*args):
        calls.append(len(args[0]))
        return teacher(*args)

    object.__setattr__(fill, "teacher", counted)
    assert len(fill(torch.Generator().manual_seed(0)).rows) == 8
    assert calls == [16]


def numbered(count):
    def fill(generator):
        numbers = torch.arange(count)
        return Points(numbers[:, None].float(), numbers, numbers, numbers[:, None].float())

    return fill


def seeded(*scope):
    return torch.Generator().manual_seed(len(repr(scope)) + int(scope[-1]))


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 7), passes=st.integers(1, 4), batch=st.integers(1, 10))
def test_every_point_is_used_as_often_as_there_are_passes(size, passes, batch):
    buffer = Buffer(numbered(size), passes, seeded)
    taken = [buffer.take(batch) for _ in range(size * passes)]
    assert all(len(points.rows) == batch for points in taken)
    rows = torch.cat([points.rows for points in taken])
    assert buffer.fillings == batch
    for filling in rows.split(size * passes):
        assert torch.bincount(filling, minlength=size).tolist() == [passes] * size


def test_the_buffer_fills_itself_only_when_it_must():
    buffer = Buffer(numbered(4), 2, seeded)
    for expected in (1, 1, 1, 1, 2):
        buffer.take(2)
        assert buffer.fillings == expected
