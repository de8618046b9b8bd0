"""What the LLaVA judge is asked in training: statements, the subjects and styles each is true of, and a tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from unlearnbench_emojiworld.concept_files import every_concept
from unlearnbench_emojiworld.train.data import ANYTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from unlearnbench_emojiworld.world import World

IMAGE, PAD, END = "<image>", "<pad>", "</s>"
USER, ASSISTANT = "USER:", "ASSISTANT:"
YES, NO = "yes", "no"
ASK, ANSWER = "Does this image show", "Answer with 'yes' or 'no'."
QUESTION = f"{ASK} {{}}? {ANSWER}"
CHAT_TEMPLATE = (
    "{% for turn in messages %}{{ turn.role | upper }}: {% for part in turn.content %}"
    f"{{{{ '{IMAGE}\\n' if part.type == 'image' else part.text }}}}"
    "{% endfor %} {% endfor %}{% if add_generation_prompt %}" + ASSISTANT + "{% endif %}"
)


@dataclass(frozen=True)
class Statements:
    """All that can be asked about the subject (or about the style) of a picture.

    texts: what follows "Does this image show". owners: which classes a text is true of. pools: the texts of each
    class, the one that a judge is asked in first place. near: classes easily taken for each class, possibly none.
    """

    texts: list[str]
    owners: list[frozenset[int]]
    pools: list[list[int]]
    near: list[list[int]]

    @classmethod
    def collect(cls, said: Sequence[Sequence[str]], near: Sequence[Sequence[int]]) -> Statements:
        """Number the texts of each class; a text that several classes share is true of all of them."""
        owners: dict[str, set[int]] = {}
        for index, texts in enumerate(said):
            for text in texts:
                owners.setdefault(text, set()).add(index)
        place = {text: number for number, text in enumerate(owners)}
        pools = [[place[text] for text in dict.fromkeys(texts)] for texts in said]
        return cls(list(owners), [frozenset(who) for who in owners.values()], pools, [list(some) for some in near])

    def draw(self, label: int, numbers: np.random.Generator, plain_share: float) -> int:
        """Return the row of a text of a class: the first with chance `plain_share`, else any."""
        pool = self.pools[label]
        return pool[0 if numbers.random() < plain_share else int(numbers.integers(len(pool)))]


def statements(world: World) -> tuple[Statements, Statements]:
    """Return what can be asked about subjects and about styles, both listed as the world lists them.

    A class says its names and descriptions; if it is an evaluated concept, its judge description comes first, and its
    display words and aliases are said too. Classes are near each other when one is a neighbour or the target of the
    other.
    """
    concepts = every_concept()

    def words(identifier: str) -> tuple[list[str], list[str]]:
        concept = concepts.get(identifier)
        return ([], []) if concept is None else ([concept.description], [concept.display, *concept.aliases])

    def near(identifiers: list[str]) -> list[list[int]]:
        place = {identifier: index for index, identifier in enumerate(identifiers)}
        found: list[set[int]] = [set() for _ in identifiers]
        for concept in concepts.values():
            for other in (*concept.neighbours, concept.target.id):
                if other != concept.id and concept.id in place and other in place:
                    found[place[concept.id]].add(place[other])
                    found[place[other]].add(place[concept.id])
        return [sorted(some) for some in found]

    subjects, styles = [], []
    for identifier, subject in world.subjects.items():
        first, more = words(identifier)
        subjects.append([*first, *subject.names, *subject.indirect, *more])
    for identifier, style in world.styles.items():
        first, more = words(identifier)
        written = [template.format(thing) for thing in ANYTHING for template in (*style.templates, *style.indirect)]
        styles.append([*first, *written, *more])
    return (
        Statements.collect(subjects, near(list(world.subjects))),
        Statements.collect(styles, near(list(world.styles))),
    )


# ---------------------------------------------------------------- tokenizer
def learn_tokenizer(texts: Iterable[str], entries: int) -> PreTrainedTokenizerFast:
    """Learn a byte-pair tokenizer of `entries` entries at most, that pads on the left and can spell any text.

    The phrases of the conversation and of the question are one entry each, so that a question is hardly longer than
    what it asks about. So are yes and no, however they are written.
    """
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.decoder = decoders.ByteLevel()
    phrases = [AddedToken(phrase, lstrip=True, normalized=False) for phrase in (USER, ASSISTANT, ASK, ANSWER)]
    answers = [AddedToken(word, lstrip=True, single_word=True, normalized=True) for word in (YES, NO)]
    trainer = trainers.BpeTrainer(
        vocab_size=entries - len(phrases) - len(answers) - 3,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator((f" {text}?" for text in texts), trainer)
    learner.add_tokens([*phrases, *answers])
    return PreTrainedTokenizerFast(
        tokenizer_object=learner,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[IMAGE],
        padding_side="left",
    )


@dataclass(frozen=True)
class Questions:
    """Statements about subjects and about styles, and the questions made of them as token ids.

    Each table holds what follows the image, up to where the answer begins, padded, with room for the answer: int64
    [statements, longest + 1].
    """

    about: tuple[Statements, Statements]
    tables: tuple[Tensor, Tensor]
    lengths: tuple[Tensor, Tensor]

    @classmethod
    def encode(cls, tokenizer: Any, about: tuple[Statements, Statements]) -> Questions:
        """Encode every statement once."""
        rows = [[tokenizer.encode(f"\n{QUESTION.format(text)} {ASSISTANT}") for text in some.texts] for some in about]
        width = 1 + max(len(ids) for group in rows for ids in group)
        padded = [[ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids in group] for group in rows]
        subjects, styles = (torch.tensor(group) for group in padded)
        lengths = [torch.tensor([len(ids) for ids in group]) for group in rows]
        return cls(about, (subjects, styles), (lengths[0], lengths[1]))

    def coded(self, rows: NDArray[np.int64], column: int) -> tuple[Tensor, Tensor]:
        """Return token ids [..., longest + 1] and lengths [...] of statements about subjects (0) or styles (1)."""
        place = torch.from_numpy(rows)
        return self.tables[column][place], self.lengths[column][place]


# ---------------------------------------------------------------- choice
def choose(
    about: Statements,
    labels: NDArray[np.int64],
    likely: NDArray[np.int64],
    count: int,
    numbers: np.random.Generator,
    *,
    plain_share: float,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Choose `count` statements for each picture, of which about half are true.

    A false one tells of a near class, of one that this picture looks like, or of any other, a third each; a group
    of which there is none leaves its share to any other.

    Args:
        about: subjects or styles.
        labels: int64 [n], the true class of each picture.
        likely: int64 [n, k], the k classes that the pictures look most like.
        count: statements for each picture.
        numbers: source of randomness.
        plain_share: share of statements in the words that a judge is asked.

    Returns:
        Rows of statements, int64 [n, count], and whether each is true, bool [n, count].
    """
    rows = np.empty((len(labels), count), np.int64)
    true = np.empty((len(labels), count), np.bool_)
    for picture, label in enumerate(labels.tolist()):
        seen = [other for other in likely[picture].tolist() if other != label]
        for slot in range(count):
            yes = bool(numbers.random() < 0.5)
            while True:
                asked = label if yes else _other(label, about.near[label], seen, len(about.pools), numbers)
                row = about.draw(asked, numbers, plain_share)
                if yes or label not in about.owners[row]:
                    break
            rows[picture, slot], true[picture, slot] = row, yes
    return rows, true


def _other(label: int, near: list[int], seen: list[int], classes: int, numbers: np.random.Generator) -> int:
    """Return a class other than the true one."""
    group = (near, seen, [])[int(numbers.integers(3))]
    if group:
        return group[int(numbers.integers(len(group)))]
    other = int(numbers.integers(classes - 1))
    return other if other < label else other + 1
