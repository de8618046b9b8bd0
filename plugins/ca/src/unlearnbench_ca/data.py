"""Random batches of anchor images with their prompts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from unlearnbench.editing.images import encode_images
from unlearnbench_ca.anchors import read_image
from unlearnbench_ca.augment import augmented
from unlearnbench_ca.loss import Batch, Noisy, add_noise

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from unlearnbench.model import Model
    from unlearnbench_ca.params import CAParams
    from unlearnbench_ca.prompts import AnchorPrompt

    Moments = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Concept:
    """What one concept is trained on.

    Attributes:
        prompts: its anchor prompts.
        images: number of the prompt, and file, of every anchor image.
    """

    prompts: Sequence[AnchorPrompt]
    images: Sequence[tuple[int, Path]]


@dataclass(frozen=True)
class Data:
    """The anchor images of all concepts; every image of a batch belongs to a concept drawn at random."""

    model: Model
    concepts: Sequence[Concept]
    params: CAParams
    _encoded: dict[Path, Moments] = field(default_factory=dict)

    @torch.no_grad()
    def batch(self, generator: torch.Generator) -> Batch:
        """Draw a batch; `generator` is a CPU generator."""
        prompts, files = self._draw(generator)
        prefixes = [""] * len(files)
        if self.params.augment:
            views = [augmented(read_image(file), self.model.compression, generator) for file in files]
            prefixes = [view.prefix for view in views]
            moments = encode_images(self.model, torch.stack([view.image for view in views]))
            mask = torch.stack([view.mask for view in views]).to(self.model.device)
        else:
            moments = self._plain(files)
            mask = torch.ones_like(moments[0][:, :1])
        noisy = self._noisy(moments, generator)
        targets = [prompt.targets[_below(len(prompt.targets), generator)] for prompt in prompts]
        anchors = [prefix + prompt.text for prefix, prompt in zip(prefixes, prompts, strict=True)]
        concepts = [prefix + target for prefix, target in zip(prefixes, targets, strict=True)]
        if not self.params.prior_preservation:
            return Batch(noisy, mask, anchors, concepts)
        prompts, files = self._draw(generator)
        prior = self._noisy(self._plain(files), generator)
        return Batch(noisy, mask, anchors, concepts, prior, [prompt.text for prompt in prompts])

    def _draw(self, generator: torch.Generator) -> tuple[list[AnchorPrompt], list[Path]]:
        prompts, files = [], []
        for _ in range(self.params.batch):
            concept = self.concepts[_below(len(self.concepts), generator)]
            number, file = concept.images[_below(len(concept.images), generator)]
            prompts.append(concept.prompts[number])
            files.append(file)
        return prompts, files

    def _plain(self, files: Sequence[Path]) -> Moments:
        """Encode images as they are, each only once."""
        for file in files:
            if file not in self._encoded:
                self._encoded[file] = encode_images(self.model, read_image(file)[None])
        mean, std = zip(*(self._encoded[file] for file in files), strict=True)
        return torch.cat(mean), torch.cat(std)

    def _noisy(self, moments: Moments, generator: torch.Generator) -> Noisy:
        """Sample x_0 from the autoencoder's posterior, and x_t from x_0."""
        mean, std = moments
        x0 = mean + std * torch.randn(mean.shape, generator=generator).to(mean.device)
        return add_noise(x0, self.model.scheduler, generator)


def _below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
