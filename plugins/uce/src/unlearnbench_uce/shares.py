"""Which attributes the model draws when it is asked for a concept without any: images, and a CLIP classifier."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from unlearnbench.api import Question, Sample, Target
from unlearnbench.sampling import sample
from unlearnbench.spec import SamplerSpec
from unlearnbench_clip.evaluator import Clip
from unlearnbench_clip.params import ClipParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import EditContext, ForgetConcept
    from unlearnbench.model import Model
    from unlearnbench_uce.params import UCEParams

BATCH = 10  # images of one call of the sampler


class Shares:
    """Makes images of a concept with the model as it is, and counts the attributes that a CLIP classifier sees.

    Args:
        model: the model in debiasing.
        params: parameters of UCE.
        ctx: where seeds come from.
    """

    def __init__(self, model: Model, params: UCEParams, ctx: EditContext) -> None:
        self._model, self._params, self._ctx = model, params, ctx
        self._judge = Clip(ClipParams(model=params.judge, template=params.judge_template))
        self._judge.setup(ctx)

    def __call__(self, iteration: int, concepts: Sequence[ForgetConcept]) -> list[list[float]]:
        """Return the shares of each concept's attributes among the images in which one was seen; NaN = in none."""
        params = self._params
        spec = SamplerSpec(scheduler="ddim", steps=params.sampling_steps, guidance=params.guidance)
        found = []
        for concept in self._ctx.progress(concepts, f"images of iteration {iteration + 1}"):
            generator = self._ctx.generator("images", iteration, concept.id)
            seeds = torch.randint(2**31, (params.images,), generator=generator).tolist()
            images = sample(self._model, [concept.name], seeds, spec, batch_size=BATCH)
            samples = [Sample(str(number), image, concept.name) for number, image in enumerate(images)]
            answers = [score.answer for score in self._judge.score(samples, attribute_question(concept))]
            counts = [answers.count(attribute.id) for attribute in concept.attributes]
            found.append([count / sum(counts) if any(counts) else math.nan for count in counts])
        return found


def attribute_question(concept: ForgetConcept) -> Question:
    """Return the question which of a concept's attributes an image shows; a classifier answers with an id."""
    first, second = concept.attributes[:2]
    return Question(
        concept=first.id,
        kind=concept.kind,
        display=first.display,
        description=first.display,
        target=Target(id=second.id, display=second.display),
        classes={attribute.id: attribute.display for attribute in concept.attributes},
    )
