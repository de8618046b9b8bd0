"""Training captions: style words, subject words and background words, each part sometimes left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unlearnbench_emojiworld.vocabulary import Background, Subject, Style

DIRECT_SHARE = 0.7
STYLE_SHARE = 0.7
BACKGROUND_SHARE = 0.5


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """Return one of the options, each equally likely."""
    return options[int(rng.random() * len(options))]


def training_caption(
    subject: Subject, style: Style, background: Background, plain: Sequence[str], rng: np.random.Generator
) -> str:
    """Write one training caption.

    The subject is named directly in 70 % of captions and described in 30 %; the style is given in 70 % and the background in
    50 %. `plain` holds the templates used when the style is left out. Draws six numbers from `rng` in a fixed order.
    """
    direct = rng.random() < DIRECT_SHARE
    words = pick(subject.names if direct else subject.indirect, rng)
    template = pick(style.templates if rng.random() < STYLE_SHARE else plain, rng)
    with_background = rng.random() < BACKGROUND_SHARE
    ending = pick(background.words, rng)
    caption = template.format(words)
    return f"{caption} {ending}" if with_background else caption
