"""Train the CLIP judge: another seed, architecture and augmentation than the conditioning encoder's pair.

`python -m unlearnbench_emojiworld.train.judge [--resume] --out DIR`. It sees renders, and those that `train.decoder`
put through the autoencoder; never an image of the generator.
"""

from __future__ import annotations

from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.train.contrastive import Objective, build, prepare, told
from unlearnbench_emojiworld.train.fit import Part, fit, start
from unlearnbench_emojiworld.train.parallel import Processes
from unlearnbench_emojiworld.train.reconstructed import judges_pictures
from unlearnbench_emojiworld.train.warm import gentle, warm

SEED_OFFSET = 1000


def main() -> None:
    """Train and print zero-shot accuracies on held-out pictures; `train.export` writes the model folder."""
    arguments = parse("train the CLIP judge")
    settings = arguments.config.judge
    start(arguments, SEED_OFFSET)
    processes = Processes.join()
    drawn = judges_pictures(arguments.out)
    texts, tokenizer = prepare(arguments, drawn)
    pair = build(settings, tokenizer, arguments.config.tokenizer.positions, arguments.config.data.size)
    warm(pair, arguments, "judge")
    objective = Objective(pair, drawn, texts, settings)
    part = Part("judge", pair, objective, gentle(settings, arguments, "judge"), weight_decay=0.1)
    fit(part, arguments, processes)
    if processes.rank == 0:
        print(told(pair, arguments.out, texts))
    processes.leave()


if __name__ == "__main__":
    main()
