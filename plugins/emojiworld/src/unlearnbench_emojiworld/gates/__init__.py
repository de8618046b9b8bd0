"""What the weights must reach before methods are compared on them: `python -m unlearnbench_emojiworld.gates`."""
