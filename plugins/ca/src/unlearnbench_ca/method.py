"""Concept Ablation: train the model to answer the prompts of a concept as it answers those of its anchor."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch

from unlearnbench.api import Method
from unlearnbench.editing.subnormal import without_subnormals
from unlearnbench.errors import UserError
from unlearnbench_ca.anchors import make_images
from unlearnbench_ca.data import Concept, Data
from unlearnbench_ca.layers import trained
from unlearnbench_ca.loss import ablation_loss
from unlearnbench_ca.params import CAParams
from unlearnbench_ca.prompts import anchor_prompts, rule_of
from unlearnbench_ca.student import Student, bos_detached

if TYPE_CHECKING:
    from unlearnbench.api import EditContext, ForgetConcept, ModelInfo, Request
    from unlearnbench.model import Model


class ConceptAblation(Method[CAParams]):
    """Minimise E ‖sg[ε_θ(x_t, c*, t)] − ε_θ(x_t, c, t)‖² on images of the anchor c*, or E ‖ε − ε_θ(x_t, c, t)‖².

    Source: Kumari et al., Ablating Concepts in Text-to-Image Diffusion Models (2023), arXiv:2303.13516.
    """

    params_type = CAParams

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse models without text cross-attention, and concepts without an anchor or prompts of it."""
        if model.family != "sd":
            return f"CA trains a UNet with text cross-attention, which a model of family '{model.family}' has not"
        reasons = [reason for concept in request.forget if (reason := self._lacks(concept))]
        return reasons[0] if reasons else None

    def _lacks(self, concept: ForgetConcept) -> str | None:
        rule = rule_of(self.params.rewrite, concept.kind)
        if rule == "pairs":
            missing = None if concept.pairs else f"rewrite = 'pairs', but there are no edit prompts for {concept.id}"
        else:
            missing = None if concept.target.strip() else f"{concept.id} needs a target in words, its anchor"
        if missing is None and not anchor_prompts(concept, self.params.rewrite):
            return f"no target prompt of {concept.id} changes when it is rewritten by '{rule}' (use rewrite = 'pairs')"
        return missing

    def edit(self, model: Model, request: Request, ctx: EditContext) -> None:
        """Make anchor images, then train what `train_method` says, and nothing else.

        Several concepts take turns at random.

        Raises:
            UserError: the model has no such layer, or the tokenizer no token for the concept.
            FloatingPointError: the loss became NaN or infinite.
        """
        params = self.params
        student = self._student(model, request)
        concepts: list[Concept] = []
        for concept in request.forget:
            prompts = anchor_prompts(concept, params.rewrite)
            images = make_images(model, concept, [prompt.text for prompt in prompts], params, ctx)
            concepts.append(Concept(prompts, images))
        data = Data(model, concepts, params)
        rate = scaled_rate(params)
        optimizer = torch.optim.AdamW(student.masters.values(), lr=rate, weight_decay=params.weight_decay)
        losses: list[float] = []
        with bos_detached(model.cross_attention()), without_subnormals() as worker:
            for number in ctx.progress(range(params.iterations), "iterations"):
                generator = ctx.generator("iteration", number)
                losses.append(worker.run(partial(step, student, data, optimizer, generator)))
                if not math.isfinite(losses[-1]):
                    raise FloatingPointError(f"the loss of iteration {number} is {losses[-1]}: lower the learning rate")
        ctx.report(
            anchor_prompts={c.id: len(x.prompts) for c, x in zip(request.forget, concepts, strict=True)},
            anchor_images={c.id: len(x.images) for c, x in zip(request.forget, concepts, strict=True)},
            trained_parameters=sum(master.numel() for master in student.masters.values()),
            learning_rate=rate,
            weight_change=student.change(),
            losses=losses,
        )
        student.write()

    def _student(self, model: Model, request: Request) -> Student:
        method = self.params.train_method
        if method == "embedding":
            words = [concept.name for concept in request.forget]
            ids = model.tokenizer(words, add_special_tokens=False)["input_ids"]
            student = Student(model, {}, sorted({token for row in ids for token in row}))
        else:
            student = Student(model, trained(model.unet, method))
        if not student.masters:
            raise UserError(f"There is nothing that '{method}' trains.", "Choose another: -p train_method=full")
        return student


def scaled_rate(params: CAParams) -> float:
    """Return the learning rate: times the batch and, with prior preservation, times two, as in the authors' code."""
    if not params.scale_learning_rate:
        return params.learning_rate
    return params.learning_rate * params.batch * (2 if params.prior_preservation else 1)


def step(student: Student, data: Data, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> float:
    """Take one step of the optimiser on a random batch, gradients clipped, and return its loss."""
    batch = data.batch(generator)
    with torch.enable_grad():
        loss = ablation_loss(student, batch, data.params)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.masters.values(), data.params.max_gradient_norm)
        optimizer.step()
    return float(loss.detach())
