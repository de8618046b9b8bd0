"""The evaluator `clip-attributes`: does an image show the concept, and with which of its attributes?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from unlearnbench_clip.evaluator import Clip
from unlearnbench_clip_attributes.params import AttributesParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import Params, Question, Sample, Score


class Attributes(Clip):
    """Answer as `clip`, and name the attribute with the largest share of a softmax over the attributes' words.

    Source: Gandikota et al., Unified Concept Editing in Diffusion Models (2023), arXiv:2308.14761: the attribute of an
    image is CLIP's choice among texts that name them, and failures count as none.
    """

    params_type: ClassVar[type[Params]] = AttributesParams
    params: AttributesParams

    def score(self, samples: Sequence[Sample], question: Question) -> list[Score]:
        """Classify every image among the classes, and if the question has attributes, among these."""
        scores = super().score(samples, question)
        if not question.attributes:
            return scores
        texts = [self.params.template.format(attribute.display) for attribute in question.attributes]
        seen: list[str] = []
        for start in range(0, len(samples), self.params.batch_size):
            images = [sample.image for sample in samples[start : start + self.params.batch_size]]
            for row in self._classifier.probabilities(images, texts):
                share, number = max((share, -number) for number, share in enumerate(row or [-1.0]))
                seen.append(question.attributes[-number].id if share >= self.params.certainty else "")
        return [
            score.model_copy(update={"attribute": name}) if score.label or self._every(score) else score
            for score, name in zip(scores, seen, strict=True)
        ]

    def _every(self, score: Score) -> bool:
        return not self.params.concept_first and score.label is not None
