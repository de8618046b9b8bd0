"""Train the conditioning text encoder against a vision tower of its own, which is then thrown away.

`python -m unlearnbench_emojiworld.train.text [--resume] --out DIR`
"""

from __future__ import annotations

from transformers import CLIPModel, CLIPTextModel

from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.train.contrastive import Objective, build, prepare, zero_shot
from unlearnbench_emojiworld.train.fit import Part, fit, start


def text_tower(pair: CLIPModel) -> CLIPTextModel:
    """Return a CLIPTextModel with the weights of a pair's text tower."""
    tower = CLIPTextModel(pair.config.text_config)
    tower.load_state_dict(pair.text_model.state_dict())
    return tower.eval()


def main() -> None:
    """Train, write the text encoder to `<out>/text/model` and print its zero-shot accuracy on held-out pictures."""
    arguments = parse("train the conditioning text encoder")
    settings = arguments.config.text
    start(arguments.config.seed)
    drawn, heldout, texts, tokenizer = prepare(arguments.out)
    pair = build(settings, tokenizer, arguments.config.tokenizer.positions, arguments.config.data.size)
    fit(Part("text", pair, Objective(pair, drawn, texts, settings), settings, weight_decay=0.1), arguments)
    text_tower(pair).save_pretrained(arguments.out / "text" / "model")
    for name, column, classes in (("subject", 0, texts.subjects), ("style", 1, texts.styles)):
        found = zero_shot(pair, heldout.images, classes)
        print(f"zero-shot {name} accuracy {(found == heldout.labels[:, column]).mean():.3f}")


if __name__ == "__main__":
    main()
