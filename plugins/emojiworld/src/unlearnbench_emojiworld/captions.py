"""Training captions: style words, subject words and background words, each part sometimes left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from unlearnbench_emojiworld.vocabulary import AttributeWords, Background, Style, Subject

DIRECT_SHARE = 0.55
STYLE_DIRECT_SHARE = 0.65
RECOMBINED_SHARE = 0.4
ATTRIBUTE_SHARE = 0.2
STYLE_SHARE = 0.7
BACKGROUND_SHARE = 0.5
LEADING_BACKGROUND_SHARE = 0.2


@dataclass(frozen=True)
class Caption:
    """A caption and which parts, besides the subject, it speaks of."""

    text: str
    style: bool
    background: bool
    attribute: bool


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """Return one of the options, each equally likely."""
    return options[int(rng.random() * len(options))]


def training_caption(
    subject: Subject,
    style: Style,
    background: Background,
    plain: Sequence[str],
    rng: np.random.Generator,
    *,
    recombined: Sequence[str] = (),
    attribute: AttributeWords | None = None,
) -> Caption:
    """Write one training caption.

    The subject is named in 55 % of the captions and described in 45 %, two in five of which are recombined; the style
    is named in 65 % of the captions that speak of it and described in 35 %. The style is spoken of in 70 % of all
    captions and the background in 50 %, one in five of which begin with it. A subject with an attribute is named
    together with it in 20 %. Draws twelve numbers from `rng` in a fixed order.

    Args:
        subject: what is shown.
        style: how.
        background: on which colour.
        plain: the templates used when the style is left out.
        rng: source of randomness.
        recombined: descriptions made of parts of the subject's own; none = its own are used.
        attribute: the words of the attribute that the subject is shown with, if any.
    """
    direct = rng.random() < DIRECT_SHARE
    named, described = pick(subject.names, rng), pick(subject.indirect, rng)
    made, other = rng.random() < RECOMBINED_SHARE, pick(recombined or subject.indirect, rng)
    with_attribute = rng.random() < ATTRIBUTE_SHARE
    words = named if direct else other if made else described
    spoken = attribute is not None and with_attribute
    if attribute is not None and spoken:
        name = subject.names[0]
        words = attribute.templates[int(rng.random() * len(attribute.templates))].format(
            name=name, noun=name.partition(" ")[2]
        )
    else:
        rng.random()
    styled = style.templates if rng.random() < STYLE_DIRECT_SHARE else style.indirect
    with_style = rng.random() < STYLE_SHARE
    template = pick(styled if with_style else plain, rng)
    with_background = rng.random() < BACKGROUND_SHARE
    leading = rng.random() < LEADING_BACKGROUND_SHARE
    place = pick(background.words, rng)
    text = assemble(template, words, place if with_background else None, leading)
    return Caption(text, with_style, with_background, spoken)


def assemble(template: str, words: str, place: str | None, leading: bool) -> str:
    """Join a template, subject words and optional background words into one caption."""
    caption = template.format(words)
    if place is None:
        return caption
    return f"{place}, {caption}" if leading else f"{caption} {place}"
