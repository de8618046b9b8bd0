import math

import numpy as np
import pytest
import torch

from unlearnbench_emojiworld.train.augment import augment, augment_some, bend, shift


@pytest.fixture
def numbers():
    return np.random.default_rng(0)


@pytest.mark.parametrize("kind", ["plain", "strong"])
def test_changed_pictures_stay_in_their_range_and_differ_from_draw_to_draw(kind, numbers):
    images = torch.from_numpy(numbers.uniform(-1.0, 1.0, (4, 3, 16, 16))).float()
    first, second = augment(images, numbers, kind), augment(images, numbers, kind)
    assert first.shape == images.shape
    assert first.abs().max() <= 1.0
    assert not torch.equal(first, second)


def test_a_bend_moves_pixels_smoothly_and_keeps_a_plain_picture(numbers):
    ramp = torch.linspace(-1.0, 1.0, 32).expand(4, 3, 32, 32)
    bent = bend(ramp, numbers, zoom=0.0, move=0.0, turn=0.0, spread=0.06)
    assert not torch.equal(bent, ramp)
    assert not torch.equal(bent[0], bent[1])  # each picture has a bend of its own
    assert (bent[..., 1:] - bent[..., :-1]).abs().max() < 0.3  # nothing is torn
    grey = torch.full((2, 3, 32, 32), 0.5)
    assert torch.allclose(bend(grey, numbers, zoom=0.1, move=0.08, turn=0.15, spread=0.06), grey)
    straight = bend(ramp, numbers, zoom=0.0, move=0.0, turn=0.0, spread=0.0)
    assert torch.allclose(straight, shift(ramp, numbers, 0.0, 0.0))


def test_a_quarter_turn_turns(numbers):
    image = torch.zeros(64, 1, 9, 9)
    image[:, :, 4, 8] = 1.0
    turned = bend(image, numbers, zoom=0.0, move=0.0, turn=math.pi, spread=0.0)
    radius = torch.hypot(*(torch.meshgrid(torch.arange(9.0) - 4, torch.arange(9.0) - 4, indexing="ij")))
    mass = turned[:, 0].sum((1, 2))
    assert (
        (turned[:, 0] * radius).sum((1, 2))[mass > 0.3] / mass[mass > 0.3] > 3.0
    ).all()  # none comes nearer the centre


def test_a_share_of_the_pictures_is_changed_much_and_the_others_are_only_moved(numbers):
    plain = torch.full((4, 3, 16, 16), 0.5)
    changed = augment_some(plain.clone(), numbers, 0.75)
    assert torch.allclose(changed[3], plain[3])
    assert all((changed[k] - plain[k]).std() > 0.0 and not torch.allclose(changed[k], plain[k]) for k in range(3))
