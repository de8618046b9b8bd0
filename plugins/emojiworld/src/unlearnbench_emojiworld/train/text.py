"""Train the conditioning text encoder against a vision tower of its own, which is then thrown away.

`python -m unlearnbench_emojiworld.train.text [--resume] --out DIR`. A text encoder that starts from weights would lose
what it knows against a vision tower that knows nothing yet. So it is locked for the first part of the schedule, while
the vision tower learns from it, and then learns at its share of the rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import CLIPModel, CLIPTextModel

from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.train.contrastive import Objective, build, prepare, told
from unlearnbench_emojiworld.train.data import Drawn
from unlearnbench_emojiworld.train.fit import Part, fit, start
from unlearnbench_emojiworld.train.parallel import Processes
from unlearnbench_emojiworld.train.warm import GENERATOR, is_taken, warm

if TYPE_CHECKING:
    from torch import Tensor

    from unlearnbench_emojiworld.train.fit import Batch


LOCKED = 0.35  # of the schedule


def text_tower(pair: CLIPModel) -> CLIPTextModel:
    """Return a CLIPTextModel with the weights of a pair's text tower."""
    tower = CLIPTextModel(pair.config.text_config)
    tower.load_state_dict(pair.text_model.state_dict())
    return tower.eval()


def main() -> None:
    """Train, write the text encoder to `<out>/text/model` and print its zero-shot accuracy on held-out pictures."""
    arguments = parse("train the conditioning text encoder")
    settings = arguments.config.text
    start(arguments)
    if arguments.start is not None and is_taken(arguments.start, arguments.config, "text"):
        taken = CLIPTextModel.from_pretrained(arguments.start / GENERATOR / "text_encoder", dtype=torch.float32)
        taken.save_pretrained(arguments.out / "text" / "model")
        return
    processes = Processes.join()
    drawn = Drawn.load(arguments.out / "data", "train")
    texts, tokenizer = prepare(arguments, drawn)
    pair = build(settings, tokenizer, arguments.config.tokenizer.positions, arguments.config.data.size)
    warmed = warm(pair.text_model, arguments, "text")
    objective = Objective(pair, drawn, texts, settings)

    def loss(batch: Batch) -> tuple[Tensor, dict[str, float]]:
        pair.text_model.requires_grad_(not warmed or batch.progress >= LOCKED)
        return objective(batch)

    shares = {"text_model": arguments.config.start.warm["text"]} if warmed else {}
    part = Part("text", pair, loss, settings, weight_decay=0.1, shares=shares)
    fit(part, arguments, processes)
    if processes.rank == 0:
        text_tower(pair).save_pretrained(arguments.out / "text" / "model")
        print(told(pair, arguments.out, texts))
    processes.leave()


if __name__ == "__main__":
    main()
