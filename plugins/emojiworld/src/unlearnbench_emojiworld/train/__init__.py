"""Training of the weights that EmojiWorld ships: `python -m unlearnbench_emojiworld.train.<part> --out DIR`."""
