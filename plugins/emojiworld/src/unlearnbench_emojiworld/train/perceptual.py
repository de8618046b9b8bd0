"""How different two pictures look to the vision tower that the conditioning text encoder was trained against.

What the text encoder can say (subject, style, background) is what that tower sees, so a decoder that is held to it
keeps what L1 lets blur: faces, strokes, highlights. The judges take no part in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from unlearnbench.errors import UserError
from unlearnbench_emojiworld.train.arithmetic import mixed
from unlearnbench_emojiworld.train.contrastive import build, read_tokenizer
from unlearnbench_emojiworld.train.fit import CHECKPOINT

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from transformers import CLIPModel

    from unlearnbench_emojiworld.train.config import TrainConfig


class Perceptual:
    """Distance of pictures in the layers and in the final embedding of a frozen vision tower."""

    def __init__(self, pair: CLIPModel) -> None:
        self.tower = pair.vision_model.eval().requires_grad_(False)
        self.projection = pair.visual_projection.eval().requires_grad_(False)

    @classmethod
    def read(cls, out: Path, config: TrainConfig) -> Perceptual:
        """Return the distance of the conditioning pair of a training folder.

        Raises UserError when the pair is not trained yet.
        """
        path = out / "text" / CHECKPOINT
        if not path.exists():
            raise UserError(
                "the perceptual distance needs the conditioning pair", "run `train.text` first, or set its weight to 0"
            )
        pair = build(config.text, read_tokenizer(out), config.tokenizer.positions, config.data.size)
        pair.load_state_dict(torch.load(path, weights_only=True)["module"])
        return cls(pair)

    def __call__(self, pictures: Tensor, originals: Tensor) -> Tensor:
        """Return the mean distance of pictures from their originals, a scalar that is 0 for equal ones.

        Both: [n, 3, h, w], -1 to 1. The sum of the squared difference of the normalised hidden states, averaged over
        layers, places and channels (as in Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a
        Perceptual Metric", without learned weights), and of 1 - cosine of the two embeddings.
        """
        with mixed():
            seen, aim = self.look(pictures), self.look(originals)
        layers = [(a - b).square().mean() for a, b in zip(seen[:-1], aim[:-1], strict=True)]
        return torch.stack(layers).mean() + (1.0 - F.cosine_similarity(seen[-1], aim[-1])).mean()

    def look(self, pictures: Tensor) -> list[Tensor]:
        """Return the normalised hidden states [n, places, width] after each layer, then the embedding [n, width]."""
        found = self.tower(pixel_values=pictures, output_hidden_states=True)
        states = [nn.functional.layer_norm(s.float(), s.shape[-1:]) for s in found.hidden_states[1:]]
        return [*states, self.projection(found.pooler_output).float()]
