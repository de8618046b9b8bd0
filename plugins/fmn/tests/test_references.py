"""Reference images: given or made, cut, encoded and drawn."""

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from unlearnbench.api import EditPair, ForgetConcept
from unlearnbench.errors import UserError
from unlearnbench.run.plan import check_params
from unlearnbench.sampling import sample
from unlearnbench.spec import SamplerSpec
from unlearnbench.testing import edit_context, tiny_model
from unlearnbench_fmn.params import FMNParams
from unlearnbench_fmn.references import References, reference_images

CAT = ForgetConcept(
    id="cat",
    kind="object",
    name="cat",
    target="dog",
    pairs=tuple(EditPair(prompt=p, target="x") for p in ("a cat", "a red cat")),
)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two images of a cat, and files that are no images of one."""
    root = tmp_path / "references"
    (root / "cat").mkdir(parents=True)
    Image.new("RGB", (20, 16), "red").save(root / "cat" / "b.PNG")
    Image.new("L", (16, 16), 255).save(root / "cat" / "a.jpg")
    (root / "cat" / "notes.txt").write_text("no image")
    Image.new("RGB", (4, 4)).save(root / "stray.png")
    return root


def noise_image(width, height, seed=0):
    levels = torch.randint(256, (height, width, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.frombytes("RGB", (width, height), bytes(levels.flatten().tolist()))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def posterior(model, image):
    levels = torch.tensor(list(image.tobytes()), dtype=torch.float32).view(16, 16, 3)
    pixels = (levels / 127.5 - 1).permute(2, 0, 1)[None]
    with torch.no_grad():
        return model.vae.encode(pixels).latent_dist


# ---------------------------------------------------------------- given
def test_images_are_read_from_the_folder_of_the_concept(model, folder):
    images = reference_images(model, CAT, FMNParams(reference_images=str(folder)), edit_context())
    assert [(image.mode, image.size) for image in images] == [("RGB", (16, 16)), ("RGB", (20, 16))]
    assert images[1].getpixel((0, 0)) == (255, 0, 0)


def test_a_damaged_image_is_named(model, folder):
    (folder / "cat" / "c.png").write_bytes(b"\x89PNG and no more")
    with pytest.raises(UserError, match=r"c\.png"):
        reference_images(model, CAT, FMNParams(reference_images=str(folder)), edit_context())


def test_the_content_of_the_images_is_a_parameter(folder):
    params = FMNParams(reference_images=str(folder))
    assert params.reference_digest.startswith("ub1:")
    assert FMNParams.model_validate(params.model_dump(mode="json")) == params
    assert FMNParams(reference_images=str(folder)) == params
    (folder / "cat" / "notes.txt").write_text("still no image")
    assert FMNParams(reference_images=str(folder)) == params
    Image.new("RGB", (20, 16), "blue").save(folder / "cat" / "b.PNG")
    assert FMNParams(reference_images=str(folder)).reference_digest != params.reference_digest
    with pytest.raises(ValidationError, match="digest"):
        FMNParams.model_validate(params.model_dump(mode="json"))


def test_images_that_move_to_another_concept_are_other_images(folder):
    before = FMNParams(reference_images=str(folder)).reference_digest
    (folder / "cat").rename(folder / "dog")
    assert FMNParams(reference_images=str(folder)).reference_digest != before


def test_without_images_there_is_no_digest():
    assert FMNParams().reference_digest is None
    with pytest.raises(ValidationError, match="digest"):
        FMNParams(reference_digest="ub1:0")


def test_a_folder_without_images_is_refused_in_words(tmp_path):
    with pytest.raises(UserError, match=r"reference_images: there is no such folder, got '.*nowhere'"):
        check_params(FMNParams, {"reference_images": str(tmp_path / "nowhere")}, "fmn")
    Image.new("RGB", (4, 4)).save(tmp_path / "stray.png")
    with pytest.raises(UserError, match="one folder for each concept"):
        check_params(FMNParams, {"reference_images": str(tmp_path)}, "fmn")


# ---------------------------------------------------------------- made
def test_images_are_those_of_the_harness_sampler(model):
    params = FMNParams(images=5, image_steps=2, edit_with="pairs")
    images = reference_images(model, CAT, params, edit_context(3))
    seed = int(torch.randint(2**31, (), generator=edit_context(3).generator("reference images", "cat")))
    texts = ["a cat", "a red cat", "a cat", "a red cat", "a cat"]
    wanted = sample(model, texts, [seed], SamplerSpec(scheduler="dpm++", steps=2, guidance=7.5), batch_size=8)
    assert [image.tobytes() for image in images] == [image.tobytes() for image in wanted]
    assert len({image.tobytes() for image in images}) == 5


def test_images_follow_the_seed_and_the_concept(model):
    def first(seed, concept=CAT):
        params = FMNParams(images=1, image_steps=2)
        return reference_images(model, concept, params, edit_context(seed))[0].tobytes()

    assert first(0) == first(0)
    assert first(0) != first(1)
    assert first(0) != first(0, CAT.model_copy(update={"id": "kitty"}))


# ---------------------------------------------------------------- drawn
def test_latents_come_from_the_posterior_scaled_as_the_unet_sees_them(model):
    image = noise_image(16, 16)
    references = References(model, [image])
    latents = torch.stack([references.draw(generator(seed)) for seed in range(400)])
    wanted, scale = posterior(model, image), model.vae.config.scaling_factor
    assert latents.shape == (400, 4, 8, 8)
    assert latents.dtype == torch.float32
    error = (latents.mean(0) - wanted.mean[0] * scale) / (wanted.std[0] * scale / 20)
    assert float(error.abs().max()) < 5
    torch.testing.assert_close(latents.std(0).mean(), wanted.std[0].mean() * scale, rtol=0.05, atol=0)


def test_a_square_is_cut_from_a_larger_image_and_each_is_encoded_once(model, monkeypatch):
    seen = []
    plain = model.vae.encode

    def watched(pixels):
        seen.append(pixels)
        return plain(pixels)

    monkeypatch.setattr(model.vae, "encode", watched)
    image = noise_image(18, 16)
    references = References(model, [image])
    for seed in range(40):
        references.draw(generator(seed))
    whole = torch.tensor(list(image.tobytes()), dtype=torch.float32).view(16, 18, 3).permute(2, 0, 1) / 127.5 - 1
    offsets = [next(x for x in range(3) if torch.allclose(p[0], whole[:, :, x : x + 16], atol=1e-6)) for p in seen]
    assert sorted(offsets) == [0, 1, 2]


def test_images_are_mirrored_only_where_that_is_asked_for(model, monkeypatch):
    image, seen = noise_image(16, 16), []
    plain = model.vae.encode

    def watched(pixels):
        seen.append(pixels)
        return plain(pixels)

    monkeypatch.setattr(model.vae, "encode", watched)
    for flip, squares in ((False, 1), (True, 2)):
        seen.clear()
        references = References(model, [image])
        for seed in range(20):
            references.draw(generator(seed), flip=flip)
        assert len(seen) == squares
    assert torch.equal(seen[0], seen[1].flip(-1))


@pytest.mark.parametrize("size", [(16, 16), (7, 30), (64, 33), (16, 40), (1, 1)])
def test_images_of_any_size_fit_the_model(model, size):
    latent = References(model, [noise_image(*size)]).draw(generator())
    assert latent.shape == (4, 8, 8)
    assert bool(latent.isfinite().all())


def test_images_take_turns_at_random(model):
    references = References(model, [noise_image(16, 16, seed) for seed in range(3)])
    means = [posterior(model, noise_image(16, 16, seed)).mean[0] for seed in range(3)]
    nearest = [
        min(range(3), key=lambda i: float((references.draw(generator(seed)) / 0.18215 - means[i]).square().sum()))
        for seed in range(30)
    ]
    assert set(nearest) == {0, 1, 2}
