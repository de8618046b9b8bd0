"""Encode every training picture and caption once, for the training of the noise predictor.

`python -m unlearnbench_emojiworld.train.cache --out DIR`, after data, tokenizer, vae and text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextModel

from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.train.arithmetic import mixed
from unlearnbench_emojiworld.train.contrastive import put_in, read_tokenizer
from unlearnbench_emojiworld.train.data import Drawn
from unlearnbench_emojiworld.train.fit import start
from unlearnbench_emojiworld.train.tokenizer import encode as tokenize
from unlearnbench_emojiworld.train.tokenizer import pieces
from unlearnbench_emojiworld.train.vae import encode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

FILLER_SHARE = 0.1


@torch.no_grad()
def embed(encoder: CLIPTextModel, tokens: NDArray[np.int64], batch: int = 256) -> NDArray[np.float16]:
    """Return the last hidden states of captions, float16 [n, positions, width]."""
    found = np.empty((*tokens.shape, encoder.config.hidden_size), np.float16)
    for begin in range(0, len(tokens), batch):
        with mixed():
            states = encoder(torch.from_numpy(tokens[begin : begin + batch])).last_hidden_state
        found[begin : begin + batch] = states.to(torch.float16).numpy()
    return found


def with_filler(tokens: NDArray[np.int64], filler: NDArray[np.int64], end: int, seed: int) -> NDArray[np.int64]:
    """Put meaningless pieces in some of the captions, so that unknown words do little harm."""
    numbers = np.random.default_rng(seed)
    changed = tokens.copy()
    for row in np.flatnonzero(numbers.random(len(tokens)) < FILLER_SHARE):
        changed[row] = put_in(tokens[row], filler, end, numbers)
    return changed


@dataclass(frozen=True)
class Cache:
    """What a step reads.

    mean, deviation: scaled latents, float32 [n, 4, h, w]. rows: caption rows of each picture, int64 [n, captions].
    embeddings: float16 [captions, positions, width]; the first row is the empty caption.
    """

    mean: Tensor
    deviation: Tensor
    rows: NDArray[np.int64]
    embeddings: NDArray[np.float16]

    @classmethod
    def load(cls, folder: Path) -> Cache:
        """Read the cache; embeddings stay on disk (and in the page cache) until used."""
        return cls(
            torch.from_numpy(np.load(folder / "mean.npy")),
            torch.from_numpy(np.load(folder / "deviation.npy")),
            np.load(folder / "rows.npy"),
            np.load(folder / "embeddings.npy", mmap_mode="r"),
        )


def write_cache(folder: Path, out: Path, seed: int) -> None:
    """Encode every training picture and caption of a training folder once."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = Drawn.load(out / "data", "train")
    tokenizer = read_tokenizer(out)
    vae = AutoencoderKL.from_pretrained(out / "vae" / "model").eval().requires_grad_(False)
    mean, deviation = encode(vae, drawn.images)
    np.save(folder / "mean.npy", (mean * vae.config.scaling_factor).numpy())
    np.save(folder / "deviation.npy", (deviation * vae.config.scaling_factor).numpy())
    flat = [caption for group in drawn.captions for caption in group]
    unique: Sequence[str] = ["", *dict.fromkeys(flat)]
    place = {caption: row for row, caption in enumerate(unique)}
    rows = np.array([[place[caption] for caption in group] for group in drawn.captions], dtype=np.int64)
    np.save(folder / "rows.npy", rows)
    tokens = tokenize(tokenizer, unique)
    noisy = with_filler(tokens, pieces(tokenizer, flat), int(tokenizer.eos_token_id), seed)
    noisy[0] = tokens[0]
    encoder = CLIPTextModel.from_pretrained(out / "text" / "model").eval().requires_grad_(False)
    np.save(folder / "embeddings.npy", embed(encoder, noisy))


def main() -> None:
    """Write the cache to `<out>/cache`."""
    arguments = parse("encode pictures and captions for the noise predictor")
    start(arguments)
    write_cache(arguments.out / "cache", arguments.out, arguments.config.seed)


if __name__ == "__main__":
    main()
