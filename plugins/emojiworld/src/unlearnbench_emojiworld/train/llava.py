"""Train the LLaVA judge: seed, architecture and weights of its own, neither the generator's nor the CLIP judge's.

`python -m unlearnbench_emojiworld.train.llava [--resume] [--seconds S] --out DIR`, after `train.data`. It sees renders,
and those that `train.decoder` put through the autoencoder; never an image of the generator. First the vision
tower, the projector and the word embeddings learn to classify; then the language model learns to answer, several
questions about each picture. Two processes are faster than one: see `parallel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from unlearnbench.errors import UserError
from unlearnbench_emojiworld.train.arguments import parse
from unlearnbench_emojiworld.train.arithmetic import mixed
from unlearnbench_emojiworld.train.augment import augment_some
from unlearnbench_emojiworld.train.data import Drawn
from unlearnbench_emojiworld.train.fit import Part, fit, start
from unlearnbench_emojiworld.train.llava_heldout import measure, report
from unlearnbench_emojiworld.train.llava_model import Student, build, write
from unlearnbench_emojiworld.train.llava_questions import Questions, choose, learn_tokenizer, statements
from unlearnbench_emojiworld.train.parallel import Processes
from unlearnbench_emojiworld.train.reconstructed import judges_pictures
from unlearnbench_emojiworld.train.vae import to_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from unlearnbench_emojiworld.train.config import LlavaSettings
    from unlearnbench_emojiworld.train.fit import Batch
    from unlearnbench_emojiworld.world import World

SEED_OFFSET = 2000
COLUMNS = (("subject", 0), ("style", 1))
LIKELY = 4  # classes that a picture looks most like, from which false questions are taken
STYLE_SHARE = 0.375  # share of the questions that are about the style
PLAIN_SHARE = 0.4  # share of the questions in the words that a judge is asked
STRONG_SHARE = 0.75  # share of the pictures that are changed as much as generated ones differ from renders
ASKED = 2  # one picture in so many is asked about: classification wants more pictures than answering
HELDOUT_ASKED = 650  # pictures, spread over all: to ask each one about every class takes as long as training
END_WEIGHT = 0.1  # of the loss of the end after an answer, which is soon learned


def balanced(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the chance of each picture to be chosen, such that every subject is chosen equally often."""
    _, place, counts = np.unique(labels[:, 0], return_inverse=True, return_counts=True)
    chance: NDArray[np.float64] = 1.0 / (len(counts) * counts[place])
    return chance


class Objective:
    """The loss of one batch; call it with a batch."""

    def __init__(self, student: Student, drawn: Drawn, questions: Questions, settings: LlavaSettings) -> None:
        self.student, self.drawn, self.questions, self.settings = student, drawn, questions, settings
        self.chances = balanced(drawn.labels)

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of classification plus, after the first steps, that of answers; and shares of right ones."""
        chosen = batch.numbers.choice(len(self.chances), batch.size, p=self.chances)
        labels = self.drawn.labels[chosen]
        images = augment_some(to_tensor(self.drawn.images[chosen]), batch.numbers, STRONG_SHARE)
        with mixed():
            features = self.student.features(images)
        loss, figures = torch.zeros(()), {}
        likely = []
        for name, column in COLUMNS:
            seen = self.student.classes(features, column)
            target = torch.from_numpy(labels[:, column])
            loss = loss + F.cross_entropy(seen, target) + self.word_loss(column, batch)
            figures[name] = (seen.argmax(1) == target).float().mean().item()
            likely.append(seen.topk(min(LIKELY, seen.shape[1]), 1).indices.numpy())
        loss = self.settings.classification_weight * loss
        if batch.progress < self.settings.classification_share:
            return loss, {**figures, "answer": float("nan"), "right": float("nan")}
        rows, true = self.pick(labels[::ASKED], [some[::ASKED] for some in likely], batch.numbers)
        answer, right = self.answer_loss(features[::ASKED], rows, true)
        return loss + answer, {**figures, "answer": answer.item(), "right": right}

    def word_loss(self, column: int, batch: Batch) -> Tensor:
        """Return the loss of the classes of statements, by the mean of their word embeddings.

        The same classifier sees pictures and words, so that words come to lie where the pictures are that they fit.
        Without it, comparing the two is long no better than chance.
        """
        about = self.questions.about[column]
        target = batch.numbers.integers(len(about.pools), size=batch.size)
        rows = np.array([about.draw(int(label), batch.numbers, PLAIN_SHARE) for label in target])
        tails, lengths = self.questions.coded(rows, column)
        return F.cross_entropy(self.student.word_classes(tails, lengths, column), torch.from_numpy(target))

    def pick(
        self, labels: NDArray[np.int64], likely: list[NDArray[np.int64]], numbers: np.random.Generator
    ) -> tuple[list[NDArray[np.int64]], NDArray[np.bool_]]:
        """Choose questions about subjects and about styles: rows of statements, and whether each is true."""
        styled = max(1, round(STYLE_SHARE * self.settings.questions))
        counts = (self.settings.questions - styled, styled)
        chosen = [
            choose(self.questions.about[c], labels[:, c], likely[c], counts[c], numbers, plain_share=PLAIN_SHARE)
            for _, c in COLUMNS
        ]
        return [rows for rows, _ in chosen], np.concatenate([true for _, true in chosen], 1)

    def answer_loss(
        self, features: Tensor, rows: list[NDArray[np.int64]], true: NDArray[np.bool_]
    ) -> tuple[Tensor, float]:
        """Return the cross-entropy of the answers and of the end after them, and the share of right answers."""
        student = self.student
        coded = [self.questions.coded(rows[column], column) for _, column in COLUMNS]
        tails, lengths = (torch.cat(parts, 1) for parts in zip(*coded, strict=True))
        tails = tails[..., : int(lengths.max()) + 1]
        answers = torch.where(torch.from_numpy(true), student.yes, student.no)
        tails = tails.scatter(2, lengths[..., None], answers[..., None])
        with mixed():
            states = student.states(features, tails)
            said, ended = student.next_logits(states, lengths), student.next_logits(states, lengths + 1)
        answer = F.cross_entropy(said.flatten(0, 1).float(), answers.flatten())
        end = F.cross_entropy(ended.flatten(0, 1).float(), torch.full_like(answers, student.end).flatten())
        yes = said[..., student.yes] > said[..., student.no]
        return answer + END_WEIGHT * end, float((yes.numpy() == true).mean())


def prepare(settings: LlavaSettings, world: World, size: int) -> tuple[Student, Any, Questions]:
    """Return the untrained model, its tokenizer, and the questions about subjects and styles."""
    about = statements(world)
    tokenizer = learn_tokenizer([text for some in about for text in some.texts], settings.entries)
    student = Student(build(settings, tokenizer, size), tokenizer, [len(some.pools) for some in about])
    return student, tokenizer, Questions.encode(tokenizer, about)


def main() -> None:
    """Train, write the judge to `<out>/llava/model`, and measure it on held-out pictures."""
    arguments = parse("train the LLaVA judge")
    settings = arguments.config.llava
    if settings is None:
        raise UserError("the settings file has no part 'llava'", "leave out --config to use the shipped settings")
    start(arguments, SEED_OFFSET)
    processes = Processes.join()
    world = arguments.config.world()
    student, tokenizer, questions = prepare(settings, world, arguments.config.data.size)
    objective = Objective(student, judges_pictures(arguments.out), questions, settings)
    fit(Part("llava", student, objective, settings, weight_decay=0.1), arguments, processes)
    if processes.rank == 0:
        write(student.llava, tokenizer, arguments.out / "llava" / "model")
        heldout = Drawn.load(arguments.out / "data", "heldout")
        heldout = heldout.every(max(1, len(heldout.images) // HELDOUT_ASKED))
        found = measure(student, heldout, questions, (list(world.subjects), list(world.styles)))
        print(report(found, arguments.out / "llava" / "heldout.json"))
    processes.leave()


if __name__ == "__main__":
    main()
