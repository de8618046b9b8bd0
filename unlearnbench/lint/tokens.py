"""How many tokens a prompt has: by the tokenizer of a model where it is at hand, else estimated from above."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnbench.modelfiles import read_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLIP_LIMIT = 75  # 77 positions of CLIP's text encoders, less BOS and EOS
_LETTERS = 4


@dataclass(frozen=True)
class Tokens:
    """Counts tokens.

    Attributes:
        count: tokens of a prompt, BOS and EOS not counted.
        limit: how many the text encoder takes; it cuts what is longer.
        source: who counts, in words.
    """

    count: Callable[[str], int]
    limit: int
    source: str


def _estimate(text: str) -> int:
    parts = re.findall(r"[^\W\d_]+|\d|[^\w\s]|_", text)
    return sum(math.ceil(len(part) / _LETTERS) for part in parts)


def estimated() -> Tokens:
    """Return an estimate: a token for every four letters of a word begun, every digit and every sign.

    CLIP's vocabulary holds most English words of any length as one token, so prompts are rarely longer than this says.
    """
    return Tokens(_estimate, CLIP_LIMIT, "estimated: a token for every four letters begun")


def tokens_of(folder: Path) -> Tokens:
    """Return what counts with the tokenizer of a Stable Diffusion pipeline in a folder.

    Raises:
        UserError: the folder holds no such pipeline.
    """
    config = read_json(folder / "text_encoder" / "config.json", "name a folder that holds a StableDiffusionPipeline")
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    limit = int(config.get("max_position_embeddings", 77)) - 2
    return Tokens(
        lambda text: len(tokenizer(text)["input_ids"]) - 2, limit, f"counted by the tokenizer of {folder.name}"
    )
