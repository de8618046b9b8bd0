"""Training captions: style words, subject words and background words, each part sometimes left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from unlearnbench_emojiworld.vocabulary import Background, Style, Subject, Vocabulary

DIRECT_SHARE = 0.7
STYLE_SHARE = 0.7
BACKGROUND_SHARE = 0.5
LEADING_BACKGROUND_SHARE = 0.2


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """Return one of the options, each equally likely."""
    return options[int(rng.random() * len(options))]


def training_caption(
    subject: Subject, style: Style, background: Background, plain: Sequence[str], rng: np.random.Generator
) -> str:
    """Write one training caption.

    Subject and style are each named in 70 % of the captions that speak of them and described in 30 %. The style is
    spoken of in 70 % of all captions and the background in 50 %, one in five of which begin with it. `plain` holds the
    templates used when the style is left out. Draws eight numbers from `rng` in a fixed order.
    """
    words = pick(subject.names if rng.random() < DIRECT_SHARE else subject.indirect, rng)
    styled = style.templates if rng.random() < DIRECT_SHARE else style.indirect
    template = pick(styled if rng.random() < STYLE_SHARE else plain, rng)
    with_background = rng.random() < BACKGROUND_SHARE
    leading = rng.random() < LEADING_BACKGROUND_SHARE
    place = pick(background.words, rng)
    return assemble(template, words, place if with_background else None, leading)


def assemble(template: str, words: str, place: str | None, leading: bool) -> str:
    """Join a template, subject words and optional background words into one caption."""
    caption = template.format(words)
    if place is None:
        return caption
    return f"{place}, {caption}" if leading else f"{caption} {place}"


def every_caption(vocabulary: Vocabulary) -> Iterator[str]:
    """Yield every caption that training can ever see (about 2.5 million, some more than once)."""
    templates = [*vocabulary.plain]
    for style in vocabulary.styles.values():
        templates += [*style.templates, *style.indirect]
    places: list[str | None] = [None, *(word for item in vocabulary.backgrounds.values() for word in item.words)]
    for subject in vocabulary.subjects.values():
        for words in (*subject.names, *subject.indirect):
            for template in templates:
                for place in places:
                    yield assemble(template, words, place, leading=False)
                    if place is not None:
                        yield assemble(template, words, place, leading=True)
