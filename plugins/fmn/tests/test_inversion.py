"""Tokens that are learnt from reference images."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unlearnbench.api import ForgetConcept
from unlearnbench.editing.subnormal import without_subnormals
from unlearnbench.testing import edit_context, tiny_model
from unlearnbench_fmn.inversion import denoising_target, drawn_to, first_rows, inverted
from unlearnbench_fmn.params import FMNParams
from unlearnbench_fmn.references import References
from unlearnbench_fmn.tokens import encoded, places, tokenized

DOG = ForgetConcept(id="dog", kind="object", name="red dog", target="cat")


@pytest.fixture(scope="module", params=[1, 2])
def model(request):
    return tiny_model(version=request.param)


def learn(model, seed=0, **params):
    settings = FMNParams(inversion=True, **({"inversion_iterations": 3} | params))
    references = References(model, [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")])
    with without_subnormals() as worker:
        return inverted(
            model, tokenized(model, DOG, "template"), references, settings, edit_context(seed), worker, "dog"
        )


def test_new_tokens_stand_in_the_name_s_place(model):
    tokens, states, losses = learn(model)
    size = len(model.text_encoder.get_input_embeddings().weight)
    assert tokens.ids[0, 4:8].tolist() == [size, size + 1, size + 2, size + 3]
    assert places(tokens, "first")[0].nonzero()[:, 0].tolist() == [4, 5, 6, 7, 8]
    assert states.shape == (1, model.info.text_positions, model.info.text_width)
    assert not states.requires_grad
    assert len(losses) == 3


def test_the_model_stays_as_it_is(model):
    before = {name: t.clone() for part in (model.unet, model.text_encoder) for name, t in part.state_dict().items()}
    learn(model)
    after = {name: t for part in (model.unet, model.text_encoder) for name, t in part.state_dict().items()}
    assert all(torch.equal(after[name], t) for name, t in before.items())
    parts = (model.unet, model.text_encoder)
    assert not any(p.requires_grad or p.grad is not None for part in parts for p in part.parameters())


def test_learning_starts_from_the_words_of_the_name(model):
    table = model.text_encoder.get_input_embeddings().weight
    tokens = tokenized(model, DOG, "template")
    rows = first_rows(table, tokens, 200, torch.Generator().manual_seed(0)).detach()
    assert torch.equal(rows[:2], table[list(tokens.name)])
    assert float(rows[2:].std()) == pytest.approx(1.0, rel=0.05)
    fewer = first_rows(table, tokens, 1, torch.Generator().manual_seed(0)).detach()
    assert torch.equal(fewer, table[[tokens.name[0]]])


def test_learnt_tokens_show_the_images_better(model):
    """The average loss over many noisy latents falls; what comes before learning is a run that cannot move."""
    fixed = {"inversion_norm": 0.4, "inversion_tokens": 2}
    _, still, _ = learn(model, inversion_learning_rate=1e-9, inversion_iterations=1, **fixed)
    _, learnt, _ = learn(model, inversion_learning_rate=0.05, inversion_iterations=40, inversion_warmup=1, **fixed)
    g = torch.Generator().manual_seed(7)
    references = References(model, [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")])
    x0 = torch.stack([references.draw(g) for _ in range(64)])
    t = torch.randint(1000, (64,), generator=g)
    noise = torch.randn(x0.shape, generator=g)
    alpha = model.scheduler.alphas_cumprod[t][:, None, None, None]
    x = alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise

    @torch.no_grad()
    def error(states):
        prediction = model.unet(x, t, states.expand(64, -1, -1)).sample
        return float((prediction - denoising_target(model, x0, noise, alpha)).square().mean())

    assert error(learnt) < error(still)


def test_one_step_is_adamw_on_the_denoising_error(model):
    """Follow one step by hand."""
    rate, decay = 0.01, 0.5
    settings = {"inversion_iterations": 1, "inversion_warmup": 4, "inversion_tokens": 2}
    tokens, states, losses = learn(
        model, 5, inversion_learning_rate=rate, inversion_weight_decay=decay, inversion_norm=3.0, **settings
    )
    ctx, references = edit_context(5), References(model, [Image.new("RGB", (16, 16), c) for c in ("red", "blue")])
    table = model.text_encoder.get_input_embeddings().weight
    rows = table[list(tokenized(model, DOG, "template").name)].clone().requires_grad_(True)
    g = ctx.generator("inversion", "dog", 0)
    x0 = references.draw(g, flip=True)[None]
    t = torch.randint(1000, (1,), generator=g)
    noise = torch.randn(x0.shape, generator=g)
    x = model.scheduler.add_noise(x0, noise, t)
    truth = noise if model.info.prediction == "epsilon" else model.scheduler.get_velocity(x0, noise, t)
    loss = (model.unet(x, t, encoded(model, tokens.ids, rows)).sample - truth).square().mean()
    assert losses == [pytest.approx(float(loss.detach()), rel=1e-4)]
    (grad,) = torch.autograd.grad(loss, rows)
    now = rate / 4
    moved = rows * (1 - now * decay) - now * grad / (grad.abs() + 1e-8)
    norm = moved.norm(dim=1, keepdim=True)
    expected = moved / norm * (norm + 100 * now * (3.0 - norm))
    with torch.no_grad():
        torch.testing.assert_close(states, encoded(model, tokens.ids, expected), rtol=1e-3, atol=1e-3)


@given(st.floats(0.01, 50), st.floats(0.1, 10), st.floats(1e-6, 1))
def test_norms_are_drawn_towards_one_norm(start, norm, rate):
    rows = torch.tensor([[3.0, 4.0], [-1.0, 0.0]], dtype=torch.float64)
    rows = rows / rows.norm(dim=1, keepdim=True) * start
    drawn = drawn_to(rows, norm, rate)
    expected = start + min(1.0, 100 * rate) * (norm - start)
    torch.testing.assert_close(drawn, rows / start * expected)


def test_the_target_is_what_the_model_was_trained_to_predict():
    g = torch.Generator().manual_seed(0)
    x0, noise, t = torch.randn(2, 4, 8, 8, generator=g), torch.randn(2, 4, 8, 8, generator=g), torch.tensor([3, 900])
    one, two = tiny_model(version=1), tiny_model(version=2)
    alpha = two.scheduler.alphas_cumprod[t][:, None, None, None]
    assert torch.equal(denoising_target(one, x0, noise, alpha), noise)
    torch.testing.assert_close(denoising_target(two, x0, noise, alpha), two.scheduler.get_velocity(x0, noise, t))


def test_a_loss_that_is_no_number_ends_it():
    broken = tiny_model()
    broken.unet.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="inversion_learning_rate"):
        learn(broken)
