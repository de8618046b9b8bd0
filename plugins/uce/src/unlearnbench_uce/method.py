"""Unified Concept Editing: erase, moderate or debias concepts by closed-form changes of the cross-attention."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from unlearnbench.api import Method, Task
from unlearnbench.errors import UserError
from unlearnbench_uce.debias import balance, directions, refit
from unlearnbench_uce.pairs import edit_pairs, preserved
from unlearnbench_uce.params import UCEParams
from unlearnbench_uce.shares import Shares
from unlearnbench_uce.solve import apply, change, solve
from unlearnbench_uce.tokens import edit_columns, preserve_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import EditContext, ForgetConcept, ModelInfo, Request
    from unlearnbench.model import Model
    from unlearnbench_uce.params import AttributeScale, EditTokens, PreserveTokens, Retain, Technique
    from unlearnbench_uce.tokens import Columns


@dataclass(frozen=True)
class Choices:
    """The parameters that depend on the preset, resolved for one request."""

    edit_tokens: EditTokens
    preserve_tokens: PreserveTokens
    retain: Retain
    empty: bool
    attribute_scale: AttributeScale


def resolve(params: UCEParams, request: Request) -> Choices:
    """Fill in what the preset decides.

    The code of 2023 always preserves the empty prompt and, when it erases art styles, the other artists, or when it
    debiases, the other professions.
    """
    if params.preset == "uce-2025":
        defaults = Choices("last", "last", "none", empty=False, attribute_scale="raw")
    else:
        named = request.task == "debias" or all(concept.kind == "style" for concept in request.forget)
        defaults = Choices("suffix", "all", "names" if named else "none", empty=True, attribute_scale="unit")
    return Choices(
        edit_tokens=params.edit_tokens or defaults.edit_tokens,
        preserve_tokens=params.preserve_tokens or defaults.preserve_tokens,
        retain=params.retain or defaults.retain,
        empty=defaults.empty,
        attribute_scale=params.attribute_scale or defaults.attribute_scale,
    )


def preserve_weight(params: UCEParams, prompts: int) -> float:
    """Return w_p: the given one, else 1 (code of 2025) or max(0.1, 1/number of preserved prompts) (code of 2023)."""
    if params.preserve_scale is not None:
        return params.preserve_scale
    return 1.0 if params.preset == "uce-2025" else max(0.1, 1.0 / max(prompts, 1))


class UCE(Method[UCEParams]):
    """Map the keys and values of the erased concepts onto those of their targets, or add attributes to them.

    Source: Gandikota et al., Unified Concept Editing in Diffusion Models, WACV 2024 (arXiv:2308.14761).
    """

    params_type = UCEParams
    tasks: ClassVar[tuple[Task, ...]] = ("erase", "moderate", "debias")

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse models without text cross-attention, and concepts that lack what parameters or task ask for."""
        if model.family != "sd":
            return (
                f"UCE edits cross-attention keys and values, and a model of family '{model.family}' has none it knows"
            )
        if request.task == "debias":
            if self.params.technique == "tensor":
                return "technique = 'tensor' takes a component away from values, and debiasing adds one"
            bare = [concept.id for concept in request.forget if not concept.attributes]
            if bare:
                return f"there are no attributes to balance for {', '.join(bare)}"
        missing = [concept.id for concept in request.forget if self.params.edit_with == "pairs" and not concept.pairs]
        return f"edit_with = 'pairs', but there are no edit prompts for {', '.join(missing)}" if missing else None

    def edit(self, model: Model, request: Request, ctx: EditContext) -> None:
        """Change all `attn2.to_k` and `attn2.to_v` weights of the UNet, and nothing else.

        Raises:
            UserError: the UNet has no text cross-attention.
        """
        attention: list[Any] = list(model.cross_attention().values())
        weights: list[torch.Tensor] = [linear.weight for module in attention for linear in (module.to_k, module.to_v)]
        if not weights:
            raise UserError("The UNet has no text cross-attention to edit.", "Use a Stable Diffusion 1.x or 2.x model.")
        if request.task == "debias":
            self._debias(model, request, weights, ctx)
        else:
            self._erase(model, request, weights, ctx)

    def _pairs(self, concepts: Sequence[ForgetConcept], guide: str) -> list[tuple[str, str]]:
        params = self.params
        return edit_pairs(
            concepts,
            edit_with=params.edit_with,
            aliases=params.aliases,
            expand_prompts=params.expand_prompts,
            guide=guide,
        )

    def _solve(self, model: Model, request: Request, edit: torch.Tensor, edited: Sequence[str]) -> Solution:
        """Find S for the edited columns and what is preserved."""
        params, choices = self.params, resolve(self.params, request)
        kept = preserved(request, choices.retain, empty=choices.empty, edited=edited)
        count = len(kept) * (1 if choices.preserve_tokens == "last" else model.info.text_positions)
        w_p = preserve_weight(params, len(kept))
        solution = solve(
            edit,
            preserve_columns(model, kept, choices.preserve_tokens, empty_anchor=params.empty_anchor),
            count,
            erase_scale=params.erase_scale,
            preserve_scale=w_p,
            lamb=params.lamb,
        )
        return Solution(solution, count, w_p)

    def _erase(self, model: Model, request: Request, weights: list[torch.Tensor], ctx: EditContext) -> None:
        """Map columns onto those of the guide: the target, or to moderate, the empty prompt."""
        params, choices = self.params, resolve(self.params, request)
        rule = "" if request.task == "moderate" else "target"
        pairs = self._pairs(request.forget, rule if params.guide is None else params.guide)
        start = perf_counter()
        columns = edit_columns(model, pairs, choices.edit_tokens, empty_anchor=params.empty_anchor)
        encoded = perf_counter()
        solved = self._solve(model, request, columns.edit, [prompt for prompt, _ in pairs])
        done = perf_counter()
        null = model.encode([""]).states[0].T
        drift = null_change(weights, columns, solved.share, null, params.technique)
        checked = perf_counter()
        apply(weights, columns.edit, columns.guide, solved.share, technique=params.technique, block=columns.block)
        ctx.report(
            pairs=len(pairs),
            edit_columns=columns.edit.shape[1],
            preserve_columns=solved.preserved,
            preserve_scale=solved.preserve_scale,
            matrices=len(weights),
            null_prompt_change=drift,
            edit_encode_seconds=encoded - start,
            preserve_and_solve_seconds=done - encoded,
            apply_seconds=perf_counter() - checked,
        )

    def _debias(self, model: Model, request: Request, weights: list[torch.Tensor], ctx: EditContext) -> None:
        """Alternate between images and refits from the original weights, until the attributes are balanced."""
        params, choices = self.params, resolve(self.params, request)
        prompts = [list(dict.fromkeys(p for p, _ in self._pairs([concept], ""))) for concept in request.forget]
        found = directions(model, request.forget, prompts, choices.edit_tokens, empty_anchor=params.empty_anchor)
        solved = self._solve(model, request, found.edit, [prompt for own in prompts for prompt in own])
        originals = [weight.detach().clone() for weight in weights]
        state = balance(
            request.forget,
            lambda alpha: refit(weights, originals, found, solved.share, alpha, choices.attribute_scale),
            Shares(model, params, ctx),
            eta=params.eta,
            tolerance=params.tolerance,
            iterations=params.iterations,
            recheck=params.recheck,
        )
        ctx.report(
            edit_columns=found.edit.shape[1],
            preserve_columns=solved.preserved,
            preserve_scale=solved.preserve_scale,
            matrices=len(weights),
            alpha=state.alpha,
            shares=state.shares,
            balanced=state.balanced,
        )


@dataclass(frozen=True)
class Solution:
    """S of `solve`, the number of preserved columns, and their weight w_p."""

    share: torch.Tensor
    preserved: int
    preserve_scale: float


@torch.no_grad()
def null_change(
    weights: Sequence[torch.Tensor], columns: Columns, solution: torch.Tensor, null: torch.Tensor, technique: Technique
) -> float:
    """Return the largest ‖ΔW c‖ / ‖W c‖ over the layers, c the columns of the empty prompt, before ΔW is applied.

    A large value means that unconditional predictions, and with them all guided images, change.
    """
    c = null.to(columns.edit.dtype)
    worst = 0.0
    for weight in weights:
        left, right = change(weight, columns.edit, columns.guide, solution, technique=technique, block=columns.block)
        worst = max(worst, float((left @ (right @ c)).norm() / (weight.to(c.dtype) @ c).norm()))
    return worst
