"""Reference images of a concept: given or made by the base model, cut to the model's size, encoded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image, UnidentifiedImageError

from unlearnbench.editing.images import encode_images, pixels_of
from unlearnbench.errors import UserError
from unlearnbench.sampling import sample
from unlearnbench.spec import SamplerSpec
from unlearnbench_fmn.folder import image_files
from unlearnbench_fmn.tokens import prompts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import EditContext, ForgetConcept
    from unlearnbench.model import Model
    from unlearnbench_fmn.params import FMNParams

BATCH = 8  # images of one call of the sampler


def reference_images(model: Model, concept: ForgetConcept, params: FMNParams, ctx: EditContext) -> list[Image.Image]:
    """Read the reference images of a concept, or let the base model make them; the concept's prompts take turns.

    Raises:
        UserError: a file is no image.
    """
    if params.reference_images is not None:
        return [_read(file) for file in image_files(Path(params.reference_images) / concept.id)]
    prompts = prompts_of(concept, params.edit_with)
    texts = [prompts[number % len(prompts)] for number in range(params.images)]
    seed = int(torch.randint(2**31, (), generator=ctx.generator("reference images", concept.id)))
    spec = SamplerSpec(scheduler="dpm++", steps=params.image_steps, guidance=params.image_guidance)
    return sample(model, texts, [seed], spec, batch_size=BATCH)


class References:
    """Latents of the reference images of one concept."""

    def __init__(self, model: Model, images: Sequence[Image.Image]) -> None:
        self._model = model
        self._size = model.image_size
        self._images = [_resized(image, self._size) for image in images]
        self._moments: dict[tuple[int, int, int, bool], tuple[torch.Tensor, torch.Tensor]] = {}

    @torch.no_grad()
    def draw(self, generator: torch.Generator, *, flip: bool = False) -> torch.Tensor:
        """Draw an image, a square of it and a latent from the autoencoder's posterior.

        A square is encoded only once.

        Args:
            generator: CPU generator.
            flip: mirror every other image, at random.

        Returns:
            [channels, s, s], float32, scaled as the UNet sees it.
        """
        number = _below(len(self._images), generator)
        image = self._images[number]
        left, top = (_below(side - self._size + 1, generator) for side in image.size)
        key = (number, left, top, flip and _below(2, generator) == 1)
        if key not in self._moments:
            square = image.crop((left, top, left + self._size, top + self._size))
            pixels = pixels_of(square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if key[-1] else square)
            self._moments[key] = encode_images(self._model, pixels[None])
        mean, std = (part[0] for part in self._moments[key])
        return mean + std * torch.randn(mean.shape, generator=generator).to(mean.device)


def _read(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:  # what Pillow raises for damaged files
        raise UserError(f"{file} is no image that can be read.", "Take it out of the folder.") from error


def _resized(image: Image.Image, size: int) -> Image.Image:
    """Scale an image so that its shorter side is `size`."""
    shorter = min(image.size)
    if shorter == size:
        return image
    width, height = (max(size, round(side * size / shorter)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
