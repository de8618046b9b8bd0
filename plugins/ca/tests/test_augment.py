"""Views of anchor images."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnbench_ca.augment import FAR, NEAR, augmented


def views(count, size=64, factor=4, seed=0, image=None):
    generator = torch.Generator().manual_seed(seed)
    image = torch.full((3, size, size), 0.5) if image is None else image
    return [augmented(image, factor, generator) for _ in range(count)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.sampled_from([2, 4, 8]))
def test_the_mask_covers_the_latents_that_see_only_the_image(seed, factor):
    view = views(1, size=64, factor=factor, seed=seed)[0]
    assert view.image.shape == (3, 64, 64)
    shown = torch.isclose(view.image, torch.tensor(0.5), atol=1e-5).all(dim=0)
    blocks = shown.view(64 // factor, factor, 64 // factor, factor).all(dim=3).all(dim=1)
    assert torch.equal(view.mask[0], blocks.float())
    assert view.mask.sum() > 0


def test_words_follow_the_size():
    for view in views(300):
        side = round(float((view.image != 0).any(dim=0).float().sum()) ** 0.5)
        if view.prefix in FAR:
            assert 64 // 3 <= side < 0.6 * 64
        elif view.prefix == "":
            assert 0.6 * 64 <= side <= 64
        else:
            assert view.prefix in NEAR
            assert bool((view.mask == 1).all())


def test_two_of_three_images_shrink_and_all_words_are_used():
    seen = [view.prefix for view in views(600)]
    near = sum(prefix in NEAR for prefix in seen)
    assert 150 < near < 260  # 204 expected
    assert set(seen) == {"", *FAR, *NEAR}


def test_images_are_flipped_half_of_the_time():
    image = torch.linspace(-0.9, 0.9, 64).expand(3, 64, 64)
    rising = 0
    for view in views(200, image=image):
        columns = (view.image[0] != 0).any(dim=0).nonzero()[:, 0]
        rising += bool(view.image[0, :, columns[-1]].max() > view.image[0, :, columns[0]].max())
    assert 70 < rising < 130


def test_the_enlarged_image_is_a_part_of_the_image():
    image = torch.linspace(-0.9, 0.9, 64).expand(3, 64, 64)
    near = [view for view in views(100, image=image) if view.prefix in NEAR]
    for view in near:
        spread = float(view.image.max() - view.image.min())
        assert 1.8 / 1.45 < spread < 1.8 / 1.15
