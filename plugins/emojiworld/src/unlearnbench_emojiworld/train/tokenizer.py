"""Byte-pair tokenizer in the form of CLIP's, learned from the world's captions.

`python -m unlearnbench_emojiworld.train.tokenizer --out DIR`
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.train.data import Drawn, short_captions
from unlearnbench_emojiworld.train.warm import GENERATOR, is_taken

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from unlearnbench_emojiworld.train.config import TokenizerSettings

BEGIN, END, SUFFIX = "<|startoftext|>", "<|endoftext|>", "</w>"
# The split that CLIPTokenizer makes: contractions, words, single digits, runs of anything else.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def byte_entries() -> list[str]:
    """Return the 512 entries that spell any text: each byte inside a word and at its end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return alphabet + [letter + SUFFIX for letter in alphabet]


def learn(captions: Iterable[str], entries: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Learn vocabulary and merges of `entries` entries at most, in CLIP's order: bytes, merges, begin, end."""
    learner = Tokenizer(models.BPE(end_of_word_suffix=SUFFIX))
    learner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    merged = entries - len(byte_entries()) - 2
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    # The trainer counts the letters it meets as entries; asking for all bytes as well keeps the count of merges fixed.
    trainer = trainers.BpeTrainer(
        vocab_size=merged + len(byte_entries()),
        initial_alphabet=alphabet,
        end_of_word_suffix=SUFFIX,
        show_progress=False,
    )
    learner.train_from_iterator(captions, trainer)
    learned = json.loads(learner.to_str())["model"]["merges"]
    merges = [(str(left), str(right)) for left, right in learned][:merged]
    names = [*byte_entries(), *dict.fromkeys(left + right for left, right in merges), BEGIN, END]
    return {name: index for index, name in enumerate(names)}, merges


def save(vocabulary: dict[str, int], merges: Sequence[tuple[str, str]], positions: int, folder: Path) -> CLIPTokenizer:
    """Write a folder that `CLIPTokenizer.from_pretrained` reads, vocab.json and merges.txt included."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = CLIPTokenizer(
        vocab=vocabulary,
        merges=list(merges),
        unk_token=END,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        model_max_length=positions,
    )
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tokenizer


def encode(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> NDArray[np.int64]:
    """Encode captions as int64 [n, positions], padded with the end token as Stable Diffusion 1 does."""
    coded = tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="np")
    return np.asarray(coded["input_ids"], dtype=np.int64)


def pieces(tokenizer: CLIPTokenizer, captions: Iterable[str]) -> NDArray[np.int64]:
    """Return the entries that no caption uses as a whole word: meaningless by themselves, so usable as filler."""
    words = {word for caption in captions for word in caption.lower().replace(",", " ").split()}
    entries = tokenizer.get_vocab()
    kept = [
        index for name, index in entries.items() if name.removesuffix(SUFFIX) not in words and name not in {BEGIN, END}
    ]
    return np.array(sorted(kept), dtype=np.int64)


def train(settings: TokenizerSettings, captions: Iterable[str], folder: Path) -> CLIPTokenizer:
    """Learn and write the tokenizer."""
    vocabulary, merges = learn(captions, settings.entries)
    return save(vocabulary, merges, settings.positions, folder)


def main() -> None:
    """Learn the tokenizer from the training captions into `<out>/tokenizer`."""
    arguments = parse("learn the tokenizer")
    written = [caption for group in Drawn.load(arguments.out / "data", "train").captions for caption in group]
    short = [caption for groups in short_captions(arguments.config.world()) for group in groups for caption in group]
    folder = arguments.out / "tokenizer"
    if arguments.start is not None and is_taken(arguments.start, arguments.config, "tokenizer"):
        shutil.copytree(arguments.start / GENERATOR / "tokenizer", folder, dirs_exist_ok=True)
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    else:
        tokenizer = train(arguments.config.tokenizer, [*written, *short], folder)
    lengths = (encode(tokenizer, written) == tokenizer.eos_token_id).argmax(1) + 1
    print(f"{len(tokenizer)} entries, captions of {lengths.mean():.1f} tokens on average, {lengths.max()} at most")


if __name__ == "__main__":
    main()
