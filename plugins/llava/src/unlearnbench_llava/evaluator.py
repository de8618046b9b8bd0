"""The evaluator `llava`: a vision-language model is asked whether an image shows the concept."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from unlearnbench.api import Evaluator, Params, Score
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.identity import digest
from unlearnbench.modelfiles import fingerprint_files, local_folder, read_json, resolve_folder, weight_files
from unlearnbench.spec import ModelSpec
from unlearnbench_llava.params import LlavaParams
from unlearnbench_llava.questions import BY_KIND, ENDING, SHOW, texts
from unlearnbench_llava.replies import read, read_tail

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from unlearnbench.api import EvaluatorContext, Question, Sample
    from unlearnbench_llava.answerer import Answerer

AUTO = "emoji-judge-llava"
LLAVA = "llava-hf/llava-1.5-7b-hf"
MODEL_CLASS = "LlavaForConditionalGeneration"
CONFIGURATION = (
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json",
    "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "chat_template.json", "chat_template.jinja",
)  # fmt: skip


def judge_files(folder: Path) -> list[tuple[str, Path]]:
    """List the files that decide what a judge says: (name, path).

    Raises:
        UserError: the folder holds no LLaVA-1.5 model, or no safetensors weights. LLaVA-1.6 (LLaVA-NeXT) is another
            class, and its weights mean something else in this one.
    """
    config = read_json(folder / "config.json", f"name a checkpoint of {MODEL_CLASS}, such as {LLAVA}")
    found = [*(config.get("architectures") or [MODEL_CLASS]), config.get("model_type")]
    if MODEL_CLASS not in found or "llava" not in found:
        raise UserError(
            f"{folder} is no LLaVA-1.5 model of transformers: its config.json says {found[0]}, {found[-1]}",
            f"name a checkpoint of {MODEL_CLASS}, such as {LLAVA}",
        )
    names = [name for name in CONFIGURATION if (folder / name).is_file()]
    return [(name, folder / name) for name in (*names, *weight_files(folder, "model"))]


class Llava(Evaluator[LlavaParams]):
    """Asks one question an image: p_yes is the share of yes among yes and no, `answer` the word and the off-set mass.

    Source: Liu et al., Improved Baselines with Visual Instruction Tuning (2024); probabilities of answers in place of
    text: Lin et al., Evaluating Text-to-Visual Generation with Image-to-Text Generation (2024), equation 1.
    """

    params_type: ClassVar[type[Params]] = LlavaParams

    @cached_property
    def folder(self) -> Path:
        """Return the folder of the judge.

        Raises:
            UserError: there is no such model.
            PrerequisiteError: it is not on this machine and cannot be downloaded.
        """
        from unlearnbench.plugins import shipped_models

        name, shipped = self.params.model, shipped_models()
        if name == "auto":
            name = AUTO
            if AUTO not in shipped:
                raise PrerequisiteError(
                    f"no installed distribution ships the judge {AUTO}",
                    f"name a LLaVA-1.5 checkpoint: -p llava.model={LLAVA}",
                )
        source = resolve_folder(ModelSpec(id=name, revision=self.params.revision), shipped)
        patterns = (*CONFIGURATION, "model*.safetensors*")
        return local_folder(source, self.params.revision, patterns=patterns, files=judge_files)

    def fingerprint(self) -> str:
        """Return the digest of weights, configuration, processor and tokenizer, and of all that is asked and read.

        Questions, parser, threshold, limit and arithmetic are in it; where the model is and the batch size are not.
        """
        bank = {"show": SHOW, "kind": BY_KIND, "ending": ENDING}
        asked = self.params.model_dump(mode="json", exclude={"model", "revision", "batch_size"})
        return digest({"files": fingerprint_files(judge_files(self.folder)), "asked": asked, "bank": bank})

    def setup(self, ctx: EvaluatorContext) -> None:
        """Load the judge, and find its tokens for yes and no when logits are read.

        Raises:
            UserError: weights are missing, or the tokenizer cannot say yes or no.
        """
        from unlearnbench_llava.answerer import Answerer

        self._answerer: Answerer = Answerer(self.folder, ctx.device, self.params.dtype)
        if self.params.parser == "logits":
            _ = self._answerer.words

    def score(self, samples: Sequence[Sample], question: Question) -> list[Score]:
        """Ask about every image. An unreadable image, an undecided or an unparsable answer is unscored."""
        asked = texts(self.params.question, question, opposite=self.params.opposite)
        scores: list[Score] = []
        for start in range(0, len(samples), self.params.batch_size):
            images = [sample.image for sample in samples[start : start + self.params.batch_size]]
            if self.params.parser == "logits":
                scores += self._by_logits(images, asked, question.concept)
            else:
                scores += self._by_text(images, asked)
        return scores

    def _by_logits(self, images: list[Image.Image], asked: list[str], concept: str) -> list[Score]:
        """Return the probability of yes; with an opposite question the mean of it and of no to the opposite."""
        rounds = [self._answerer.readings(images, [text] * len(images)) for text in asked]
        threshold = self.params.thresholds.get(concept, self.params.threshold)
        scores = []
        for readings in zip(*rounds, strict=True):
            found = [reading for reading in readings if reading is not None]
            if len(found) < len(asked):
                scores.append(Score(p_yes=math.nan, label=None))
                continue
            p_yes = sum(r.p_yes if i == 0 else 1.0 - r.p_yes for i, r in enumerate(found)) / len(found)
            off_set = max(reading.off_set for reading in found)
            mass = f"(off-set mass {off_set:.3f})"
            if off_set > self.params.off_set_limit:
                scores.append(Score(p_yes=math.nan, label=None, answer=f"undecided {mass}"))
            else:
                label = p_yes >= threshold
                scores.append(Score(p_yes=p_yes, label=label, answer=f"{'yes' if label else 'no'} {mass}"))
        return scores

    def _by_text(self, images: list[Image.Image], asked: list[str]) -> list[Score]:
        """Return 1 or 0 for what the greedy answer says."""
        parse = read if self.params.parser == "text" else read_tail
        scores = []
        for reply in self._answerer.replies(images, asked * len(images), self.params.tokens):
            says = None if reply is None else parse(reply)
            p_yes = math.nan if says is None else float(says)
            scores.append(Score(p_yes=p_yes, label=says, answer=reply or ""))
        return scores
