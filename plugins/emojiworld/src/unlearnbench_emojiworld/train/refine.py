"""Go on training the CLIP judge with all classes as choices, as a classifier will ask it.

`python -m unlearnbench_emojiworld.train.refine [--resume] --out DIR`, after `train.judge`. A batch of captions rarely
holds the near neighbours that a judge must tell apart; here every picture chooses among all subjects, all styles and,
if it shows one, all attributes, each said in a text of its own. Pictures are those of `train.judge`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.train.arithmetic import mixed
from unlearnbench_emojiworld.train.augment import augment_some
from unlearnbench_emojiworld.train.contrastive import build, embed_images, embed_text, prepare, told
from unlearnbench_emojiworld.train.data import NO_ATTRIBUTE, Drawn
from unlearnbench_emojiworld.train.fit import CHECKPOINT, Part, fit, start
from unlearnbench_emojiworld.train.judge import SEED_OFFSET
from unlearnbench_emojiworld.train.parallel import Processes
from unlearnbench_emojiworld.train.reconstructed import judges_pictures
from unlearnbench_emojiworld.train.vae import to_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from transformers import CLIPModel

    from unlearnbench_emojiworld.train.contrastive import Texts
    from unlearnbench_emojiworld.train.fit import Batch

FOLDER = "refine"
STRONG_SHARE = 0.5
PLAIN_ASKED = 0.5  # share of class texts that are the first and plainest of their class


def class_texts(groups: list[NDArray[np.int64]], numbers: np.random.Generator) -> Tensor:
    """Return one text for each class, int64 [classes, positions]."""
    rows = [group[0 if numbers.random() < PLAIN_ASKED else int(numbers.integers(len(group)))] for group in groups]
    return torch.from_numpy(np.stack(rows))


class ClassObjective:
    """Cross-entropy of the right subject among all subjects, of the right style, and of the right attribute."""

    def __init__(self, model: CLIPModel, drawn: Drawn, texts: Texts) -> None:
        self.model, self.drawn = model, drawn
        self.asked = [("subject", 0, 0, texts.subjects), ("style", 1, 0, texts.styles)]
        if (drawn.labels[:, 3] != NO_ATTRIBUTE).any():
            self.asked.append(("attribute", 3, NO_ATTRIBUTE + 1, texts.attributes))

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the sum of all, and the share of right answers to each; NaN where no picture has an attribute."""
        chosen = np.sort(batch.numbers.integers(len(self.drawn.labels), size=batch.size))
        labels = torch.from_numpy(self.drawn.labels[chosen])
        images = augment_some(to_tensor(self.drawn.images[chosen]), batch.numbers, STRONG_SHARE)
        scale = self.model.logit_scale.clamp(max=4.6).exp()
        loss, figures = torch.zeros(()), {}
        with mixed():
            vision = embed_images(self.model, images)
        for name, column, first, groups in self.asked:
            with mixed():
                classes = embed_text(self.model, class_texts(groups, batch.numbers))
            rows = torch.nonzero(labels[:, column] >= first).squeeze(1)
            if not len(rows):
                figures[name] = float("nan")
                continue
            logits, target = scale * vision[rows] @ classes.T, labels[rows, column] - first
            loss = loss + F.cross_entropy(logits, target) * (len(rows) / len(labels))
            figures[name] = (logits.argmax(1) == target).float().mean().item()
        return loss, figures


def main() -> None:
    """Train from the checkpoint of `train.judge`; print zero-shot accuracies on held-out pictures."""
    arguments = parse("train the CLIP judge with all classes as choices")
    settings = arguments.config.refine
    start(arguments, SEED_OFFSET)
    processes = Processes.join()
    drawn = judges_pictures(arguments.out)
    texts, tokenizer = prepare(arguments, drawn)
    pair = build(arguments.config.judge, tokenizer, arguments.config.tokenizer.positions, arguments.config.data.size)
    pair.load_state_dict(torch.load(arguments.out / "judge" / CHECKPOINT, weights_only=True)["module"])
    part = Part(FOLDER, pair, ClassObjective(pair, drawn, texts), settings, weight_decay=0.1)
    fit(part, arguments, processes)
    if processes.rank == 0:
        print(told(pair, arguments.out, texts))
    processes.leave()


if __name__ == "__main__":
    main()
