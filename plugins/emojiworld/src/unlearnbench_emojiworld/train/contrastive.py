"""Train a text tower and a vision tower against each other (CLIP), knowing which pictures a caption fits.

Captions leave parts out, and a batch holds many pictures of one subject. So the target of the symmetric cross-entropy
is not the diagonal: a caption matches every picture that agrees with all that it says, and shares its weight among
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from unlearnbench_emojiworld.train.arithmetic import mixed
from unlearnbench_emojiworld.train.augment import augment
from unlearnbench_emojiworld.train.data import NO_ATTRIBUTE, Drawn, short_captions
from unlearnbench_emojiworld.train.tokenizer import encode, pieces
from unlearnbench_emojiworld.train.vae import to_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from unlearnbench_emojiworld.train.arguments import Arguments
    from unlearnbench_emojiworld.train.config import ContrastiveSettings
    from unlearnbench_emojiworld.train.fit import Batch
    from unlearnbench_emojiworld.world import World

SUBJECTS_OF_CROWDED_BATCH = 16
TEMPERATURE = 0.07
TEXTS_TOLD = 40  # of each class, in the accuracy that a training ends with


def build(settings: ContrastiveSettings, tokenizer: CLIPTokenizer, positions: int, size: int) -> CLIPModel:
    """Return an untrained pair. Fused attention is off: its backward pass is slow on processors."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=positions,
        projection_dim=settings.projection,
        hidden_act=settings.activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=settings.vision_hidden,
        intermediate_size=4 * settings.vision_hidden,
        num_hidden_layers=settings.vision_layers,
        num_attention_heads=settings.vision_heads,
        image_size=size,
        patch_size=settings.patch,
        projection_dim=settings.projection,
        hidden_act=settings.activation,
    )
    config = CLIPConfig(
        text_config=text.to_dict(),
        vision_config=vision.to_dict(),
        projection_dim=settings.projection,
        logit_scale_init_value=float(np.log(1.0 / TEMPERATURE)),
    )
    config._attn_implementation = "eager"
    return CLIPModel(config)


@dataclass(frozen=True)
class Texts:
    """Encoded captions.

    written: [n, captions, positions]. mentions: bool [n, captions, 4]. subjects, styles, attributes: short texts, one
    array [k, positions] for each subject, style or attribute. filler: entries usable as meaningless pieces. end: end
    token.
    """

    written: NDArray[np.int64]
    mentions: NDArray[np.bool_]
    subjects: list[NDArray[np.int64]]
    styles: list[NDArray[np.int64]]
    attributes: list[NDArray[np.int64]]
    filler: NDArray[np.int64]
    end: int

    @classmethod
    def prepare(cls, drawn: Drawn, world: World, tokenizer: CLIPTokenizer) -> Texts:
        """Encode everything once."""
        flat = [caption for group in drawn.captions for caption in group]
        subjects, styles, attributes = short_captions(world)
        short = [caption for group in (*subjects, *styles, *attributes) for caption in group]
        written = encode(tokenizer, flat).reshape(*drawn.mentions.shape[:2], -1)
        return cls(
            written,
            drawn.mentions,
            [encode(tokenizer, group) for group in subjects],
            [encode(tokenizer, group) for group in styles],
            [encode(tokenizer, group) for group in attributes],
            pieces(tokenizer, [*flat, *short]),
            int(tokenizer.eos_token_id),
        )


def put_in(
    tokens: NDArray[np.int64], filler: NDArray[np.int64], end: int, numbers: np.random.Generator
) -> NDArray[np.int64]:
    """Put one to four meaningless pieces somewhere between begin and end, so that unknown words do little harm.

    tokens: [positions], padded with `end`. A caption without room is returned as it is.
    """
    length = int((tokens == end).argmax())
    count = int(numbers.integers(1, 5))
    if length + count >= len(tokens):
        return tokens
    place = int(numbers.integers(1, length + 1))
    changed = np.concatenate([tokens[:place], numbers.choice(filler, count), tokens[place:]])
    return changed[: len(tokens)]


def pick_pictures(labels: NDArray[np.int64], batch: Batch, subjects: int) -> NDArray[np.int64]:
    """Choose pictures: every second batch shows few subjects only, so that style and background decide."""
    if batch.step % 2 == 0 or subjects <= SUBJECTS_OF_CROWDED_BATCH:
        return batch.numbers.integers(len(labels), size=batch.size)
    few = batch.numbers.choice(subjects, SUBJECTS_OF_CROWDED_BATCH, replace=False)
    return batch.numbers.choice(np.flatnonzero(np.isin(labels[:, 0], few)), batch.size)


def pick_captions(
    texts: Texts, chosen: NDArray[np.int64], labels: NDArray[np.int64], settings: ContrastiveSettings, batch: Batch
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Choose a caption for each picture; return tokens [n, positions] and what each speaks of, bool [n, 4]."""
    numbers = batch.numbers
    which = numbers.integers(texts.written.shape[1], size=len(chosen))
    tokens, mentions = texts.written[chosen, which], texts.mentions[chosen, which].copy()
    for row, (subject, style, _, attribute) in enumerate(labels):
        if numbers.random() < settings.short_share:
            pools = [(0, texts.subjects[subject]), (1, texts.styles[style])]
            if attribute != NO_ATTRIBUTE:
                pools.append((3, texts.attributes[attribute - 1]))
            column, pool = pools[int(numbers.integers(len(pools)))]
            tokens[row] = pool[numbers.integers(len(pool))]
            mentions[row] = np.arange(mentions.shape[1]) == column
        if numbers.random() < settings.filler_share:
            tokens[row] = put_in(tokens[row], texts.filler, texts.end, numbers)
    return tokens, mentions


def matches(labels: NDArray[np.int64], mentions: NDArray[np.bool_]) -> Tensor:
    """Return which picture (row) fits which caption (column), equal in all that it speaks of: float32 [n, n]."""
    equal = labels[:, None, :] == labels[None, :, :]
    return torch.from_numpy((equal | ~mentions[None, :, :]).all(-1)).float()


def embed_text(model: CLIPModel, tokens: Tensor) -> Tensor:
    """Return projected, normalised text embeddings, float32 [n, projection].

    Positions after the longest caption are cut off: the tower is causal, so they change nothing.
    """
    end = model.config.text_config.eos_token_id
    longest = int((tokens == end).int().argmax(1).max()) + 1
    pooled = model.text_model(input_ids=tokens[:, :longest]).pooler_output
    return F.normalize(model.text_projection(pooled).float(), dim=-1)


def embed_images(model: CLIPModel, images: Tensor) -> Tensor:
    """Return projected, normalised image embeddings of pictures from -1 to 1, float32 [n, projection]."""
    pooled = model.vision_model(pixel_values=images).pooler_output
    return F.normalize(model.visual_projection(pooled).float(), dim=-1)


class Objective:
    """The contrastive loss of one batch; call it with a batch."""

    def __init__(self, model: CLIPModel, drawn: Drawn, texts: Texts, settings: ContrastiveSettings) -> None:
        self.model, self.drawn, self.texts, self.settings = model, drawn, texts, settings
        self.subjects = int(drawn.labels[:, 0].max()) + 1

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the symmetric cross-entropy (divided among matches) and the share of captions that find a match."""
        chosen = pick_pictures(self.drawn.labels, batch, self.subjects)
        labels = self.drawn.labels[chosen]
        tokens, mentions = pick_captions(self.texts, chosen, labels, self.settings, batch)
        images = augment(to_tensor(self.drawn.images[chosen]), batch.numbers, self.settings.augmentation)
        with mixed():
            text = embed_text(self.model, torch.from_numpy(tokens))
            vision = embed_images(self.model, images)
        logits = self.model.logit_scale.clamp(max=4.6).exp() * vision @ text.T
        fits = matches(labels, mentions)
        by_image = -(F.log_softmax(logits, 1) * fits / fits.sum(1, keepdim=True)).sum(1).mean()
        by_text = -(F.log_softmax(logits, 0) * fits / fits.sum(0, keepdim=True)).sum(0).mean()
        found = fits[logits.argmax(0), torch.arange(len(fits))].mean()
        # The entropy of the divided target is the least value the loss can take; without it the loss starts at zero.
        floor = 0.5 * (fits.sum(1).log().mean() + fits.sum(0).log().mean())
        loss = 0.5 * (by_image + by_text)
        return loss, {"excess": (loss - floor).item(), "found": found.item()}


@torch.no_grad()
def zero_shot(
    model: CLIPModel, images: NDArray[np.uint8], texts: Sequence[NDArray[np.int64]], batch: int = 256
) -> NDArray[np.int64]:
    """Return the class whose texts' mean embedding is nearest to each picture, int64 [n]."""
    model.eval()
    classes = torch.stack([F.normalize(embed_text(model, torch.from_numpy(group)).mean(0), dim=0) for group in texts])
    found = [
        (embed_images(model, to_tensor(images[begin : begin + batch])) @ classes.T).argmax(1)
        for begin in range(0, len(images), batch)
    ]
    return torch.cat(found).numpy()


def read_tokenizer(folder: Path) -> CLIPTokenizer:
    """Read the tokenizer of a training folder."""
    return CLIPTokenizer.from_pretrained(folder / "tokenizer")


def prepare(arguments: Arguments, drawn: Drawn) -> tuple[Texts, CLIPTokenizer]:
    """Return the captions of pictures, encoded, and the tokenizer of a training folder."""
    tokenizer = read_tokenizer(arguments.out)
    return Texts.prepare(drawn, arguments.config.world(), tokenizer), tokenizer


def told(pair: CLIPModel, folder: Path, texts: Texts) -> str:
    """Return how often a pair names what held-out pictures of a training folder show."""
    heldout = Drawn.load(folder / "data", "heldout")
    shares = []
    for name, column, classes, first in (
        ("subject", 0, texts.subjects, 0),
        ("style", 1, texts.styles, 0),
        ("attribute", 3, texts.attributes, NO_ATTRIBUTE + 1),
    ):
        rows = np.flatnonzero(heldout.labels[:, column] >= first)
        if len(rows):
            few = [group[:: max(1, len(group) // TEXTS_TOLD)] for group in classes]
            found = zero_shot(pair, heldout.images[rows], few) + first
            shares.append(f"{name} {(found == heldout.labels[rows, column]).mean():.3f}")
    return f"zero-shot accuracy: {', '.join(shares)}"
