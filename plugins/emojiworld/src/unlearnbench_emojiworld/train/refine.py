"""Go on training the CLIP judge with all classes as choices, as a classifier will ask it.

`python -m unlearnbench_emojiworld.train.refine [--resume] --out DIR`, after `train.judge` and `train.decoder`. A batch
of captions rarely holds the near neighbours that a judge must tell apart; here every picture chooses among all subjects
and all styles, each said in a text of its own. Pictures are renders and renders that went through the autoencoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional as F

from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.train.augment import augment
from unlearnbench_emojiworld.train.contrastive import build, embed_images, embed_text, read_tokenizer, zero_shot
from unlearnbench_emojiworld.train.data import Drawn, short_captions
from unlearnbench_emojiworld.train.fit import CHECKPOINT, Part, fit, start
from unlearnbench_emojiworld.train.judge import SEED_OFFSET, through
from unlearnbench_emojiworld.train.tokenizer import encode
from unlearnbench_emojiworld.train.vae import to_tensor
from unlearnbench_emojiworld.world import World

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from transformers import CLIPModel

    from unlearnbench_emojiworld.train.fit import Batch

FOLDER = "refine"
RECONSTRUCTED = 6  # one picture in so many went through the autoencoder
PLAIN_ASKED = 0.5  # share of class texts that are the first and plainest of their class


def class_texts(groups: list[NDArray[np.int64]], numbers: np.random.Generator) -> Tensor:
    """Return one text for each class, int64 [classes, positions]."""
    rows = [group[0 if numbers.random() < PLAIN_ASKED else int(numbers.integers(len(group)))] for group in groups]
    return torch.from_numpy(np.stack(rows))


class ClassObjective:
    """Cross-entropy of the right subject among all subjects and of the right style among all styles."""

    def __init__(
        self, model: CLIPModel, drawn: Drawn, subjects: list[NDArray[np.int64]], styles: list[NDArray[np.int64]]
    ) -> None:
        self.model, self.drawn, self.subjects, self.styles = model, drawn, subjects, styles

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the sum of both, and the share of right answers to each."""
        chosen = np.sort(batch.numbers.integers(len(self.drawn.labels), size=batch.size))
        labels = torch.from_numpy(self.drawn.labels[chosen])
        images = to_tensor(self.drawn.images[chosen])
        half = len(images) // 2
        images[:half] = augment(images[:half], batch.numbers, "strong")
        images[half:] = augment(images[half:], batch.numbers, "plain")
        with torch.autocast("cpu", torch.bfloat16):
            vision = embed_images(self.model, images)
            subjects = embed_text(self.model, class_texts(self.subjects, batch.numbers))
            styles = embed_text(self.model, class_texts(self.styles, batch.numbers))
        scale = self.model.logit_scale.clamp(max=4.6).exp()
        loss, figures = torch.zeros(()), {}
        for name, column, classes in (("subject", 0, subjects), ("style", 1, styles)):
            logits = scale * vision @ classes.T
            loss = loss + F.cross_entropy(logits, labels[:, column])
            figures[name] = (logits.argmax(1) == labels[:, column]).float().mean().item()
        return loss, figures


def main() -> None:
    """Train from the checkpoint of `train.judge`; print zero-shot accuracies on held-out pictures."""
    arguments = parse("train the CLIP judge with all classes as choices")
    settings = arguments.config.refine
    start(arguments.config.seed + SEED_OFFSET)
    tokenizer = read_tokenizer(arguments.out)
    drawn, heldout = (Drawn.load(arguments.out / "data", split) for split in ("train", "heldout"))
    subjects, styles = ([encode(tokenizer, group) for group in groups] for groups in short_captions(World.load()))
    pair = build(arguments.config.judge, tokenizer, arguments.config.tokenizer.positions, arguments.config.data.size)
    pair.load_state_dict(torch.load(arguments.out / "judge" / CHECKPOINT, weights_only=True)["module"])
    vae = AutoencoderKL.from_pretrained(arguments.out / "decoder" / "model").eval()
    images = np.array(drawn.images)
    images[::RECONSTRUCTED] = through(vae, images[::RECONSTRUCTED])
    drawn = Drawn(images, drawn.labels, drawn.captions, drawn.mentions)
    fit(Part(FOLDER, pair, ClassObjective(pair, drawn, subjects, styles), settings, weight_decay=0.1), arguments)
    for name, column, classes in (("subject", 0, subjects), ("style", 1, styles)):
        found = zero_shot(pair, heldout.images, classes)
        print(f"zero-shot {name} accuracy {(found == heldout.labels[:, column]).mean():.3f}")


if __name__ == "__main__":
    main()
