"""The evaluator `clip`: which class of its kind an image shows, by zero-shot classification."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from unlearnbench.api import Evaluator, Params, Question, Score, Target
from unlearnbench.errors import PrerequisiteError
from unlearnbench.identity import digest
from unlearnbench.modelfiles import fingerprint_files, local_folder, resolve_folder, weight_files
from unlearnbench.spec import ModelSpec
from unlearnbench_clip.params import ClipParams

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from unlearnbench.api import EvaluatorContext, Sample
    from unlearnbench_clip.classifier import Classifier

AUTO = "emoji-judge-clip"
CONFIGURATION = (
    "config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
)  # fmt: skip


def judge_files(folder: Path) -> list[tuple[str, Path]]:
    """List the files that decide what a judge says: (name, path).

    Raises:
        UserError: the folder holds no safetensors weights.
    """
    names = [name for name in CONFIGURATION if (folder / name).is_file()]
    return [(name, folder / name) for name in (*names, *weight_files(folder, "model"))]


class Clip(Evaluator[ClipParams]):
    """Softmax over the classes of the question: p_yes is the asked concept's share, `answer` the largest one's class.

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision (2021), section 3.1.
    """

    params_type: ClassVar[type[Params]] = ClipParams

    @cached_property
    def folder(self) -> Path:
        """Return the folder of the judge.

        Raises:
            UserError: there is no such model.
            PrerequisiteError: it is not on this machine and cannot be downloaded.
        """
        from unlearnbench.plugins import shipped_models

        name = AUTO if self.params.model == "auto" else self.params.model
        source = resolve_folder(ModelSpec(id=name, revision=self.params.revision), shipped_models())
        patterns = (*CONFIGURATION, "model*.safetensors*")
        folder = local_folder(source, self.params.revision, patterns=patterns, files=judge_files)
        if not (folder / "config.json").is_file():
            raise PrerequisiteError(
                f"the judge {name} has no files in {folder}", "name another CLIP model: -p clip.model=FOLDER"
            )
        return folder

    def fingerprint(self) -> str:
        """Return the digest of the judge's weights, configuration, image processor and tokenizer.

        Thresholds of single concepts, if there are any, enter it: with them it is another judge.
        """
        files = fingerprint_files(judge_files(self.folder))
        return digest({"files": files, "thresholds": self.params.thresholds}) if self.params.thresholds else files

    def setup(self, ctx: EvaluatorContext) -> None:
        """Load the judge in float32."""
        from unlearnbench_clip.classifier import Classifier

        self._classifier: Classifier = Classifier(self.folder, ctx.device)

    def score(self, samples: Sequence[Sample], question: Question) -> list[Score]:
        """Classify every image among `question.classes`.

        The concept itself is among the classes; if it is not, it is added with its display words, and so is its
        target, so that a question about an unlisted concept is still a choice between at least two.
        """
        classes = {
            question.concept: question.display,
            question.target.id: question.target.display,
            **question.classes,
        }
        names = list(classes)
        threshold = self.params.thresholds.get(question.concept, self.params.threshold)
        texts = [self.params.template.format(words) for words in classes.values()]
        scores: list[Score] = []
        for start in range(0, len(samples), self.params.batch_size):
            images = [sample.image for sample in samples[start : start + self.params.batch_size]]
            for row in self._classifier.probabilities(images, texts):
                if row is None:
                    scores.append(Score(p_yes=math.nan, label=None))
                else:
                    p_yes = row[names.index(question.concept)]
                    answer = max(zip(row, names, strict=True), key=lambda pair: pair[0])[1]
                    scores.append(Score(p_yes=p_yes, label=p_yes >= threshold, answer=answer))
        return scores

    def examples(self) -> list[tuple[Question, Image.Image, Image.Image]]:
        """Return two questions, each with a picture that shows the concept and one that does not.

        EmojiWorld draws them; without it there are none.
        """
        try:
            from unlearnbench_emojiworld.world import World, rng_for
        except ImportError:
            return []
        from PIL import Image

        world, words = World.load(), {"apple": "an apple", "dog": "a dog", "bird": "a bird", "tree": "a tree"}

        def draw(name: str) -> Image.Image:
            return Image.fromarray(world.render(name, "flat", "white", rng_for("heldout", 0)))

        return [
            (
                Question(
                    concept=shown,
                    kind="object",
                    display=words[shown],
                    description=words[shown],
                    target=Target(id=absent, display=words[absent]),
                    classes=words,
                ),
                draw(shown),
                draw(absent),
            )
            for shown, absent in (("apple", "dog"), ("dog", "apple"))
        ]
