"""Unified Concept Editing: erase concepts by one closed-form change of the cross-attention keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from unlearnbench.api import Method
from unlearnbench.errors import UserError
from unlearnbench_uce.pairs import edit_pairs, preserved
from unlearnbench_uce.params import UCEParams
from unlearnbench_uce.solve import apply, change, solve
from unlearnbench_uce.tokens import edit_columns, preserve_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import EditContext, ModelInfo, Request
    from unlearnbench.model import Model
    from unlearnbench_uce.params import EditTokens, PreserveTokens, Retain, Technique
    from unlearnbench_uce.tokens import Columns


@dataclass(frozen=True)
class Choices:
    """The parameters that depend on the preset, resolved for one request."""

    edit_tokens: EditTokens
    preserve_tokens: PreserveTokens
    retain: Retain
    empty: bool


def resolve(params: UCEParams, request: Request) -> Choices:
    """Fill in what the preset decides.

    The code of 2023 always preserves the empty prompt and, when it erases art styles, the other artists.
    """
    if params.preset == "uce-2025":
        defaults = Choices("last", "last", "none", empty=False)
    else:
        styles = all(concept.kind == "style" for concept in request.forget)
        defaults = Choices("suffix", "all", "names" if styles else "none", empty=True)
    return Choices(
        edit_tokens=params.edit_tokens or defaults.edit_tokens,
        preserve_tokens=params.preserve_tokens or defaults.preserve_tokens,
        retain=params.retain or defaults.retain,
        empty=defaults.empty,
    )


def preserve_weight(params: UCEParams, prompts: int) -> float:
    """Return w_p: the given one, else 1 (code of 2025) or max(0.1, 1/number of preserved prompts) (code of 2023)."""
    if params.preserve_scale is not None:
        return params.preserve_scale
    return 1.0 if params.preset == "uce-2025" else max(0.1, 1.0 / max(prompts, 1))


class UCE(Method[UCEParams]):
    """Map the keys and values of the erased concepts onto those of their targets.

    Source: Gandikota et al., Unified Concept Editing in Diffusion Models, WACV 2024 (arXiv:2308.14761).
    """

    params_type = UCEParams

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse models without text cross-attention, and concepts that lack what `edit_with` asks for."""
        if model.family != "sd":
            return (
                f"UCE edits cross-attention keys and values, and a model of family '{model.family}' has none it knows"
            )
        missing = [concept.id for concept in request.forget if self.params.edit_with == "pairs" and not concept.pairs]
        return f"edit_with = 'pairs', but there are no edit prompts for {', '.join(missing)}" if missing else None

    def edit(self, model: Model, request: Request, ctx: EditContext) -> None:
        """Change all `attn2.to_k` and `attn2.to_v` weights of the UNet, and nothing else.

        Raises:
            UserError: the UNet has no text cross-attention.
        """
        params, choices = self.params, resolve(self.params, request)
        attention: list[Any] = list(model.cross_attention().values())
        weights: list[torch.Tensor] = [linear.weight for module in attention for linear in (module.to_k, module.to_v)]
        if not weights:
            raise UserError("The UNet has no text cross-attention to edit.", "Use a Stable Diffusion 1.x or 2.x model.")
        pairs = edit_pairs(
            request.forget,
            edit_with=params.edit_with,
            aliases=params.aliases,
            expand_prompts=params.expand_prompts,
            guide=params.guide,
        )
        kept = preserved(request, choices.retain, empty=choices.empty, edited=[prompt for prompt, _ in pairs])
        w_p = preserve_weight(params, len(kept))

        start = perf_counter()
        columns = edit_columns(model, pairs, choices.edit_tokens, empty_anchor=params.empty_anchor)
        encoded = perf_counter()
        count = len(kept) * (1 if choices.preserve_tokens == "last" else model.info.text_positions)
        solution = solve(
            columns.edit,
            preserve_columns(model, kept, choices.preserve_tokens, empty_anchor=params.empty_anchor),
            count,
            erase_scale=params.erase_scale,
            preserve_scale=w_p,
            lamb=params.lamb,
        )
        solved = perf_counter()
        null = model.encode([""]).states[0].T
        drift = null_change(weights, columns, solution, null, params.technique)
        checked = perf_counter()
        apply(weights, columns.edit, columns.guide, solution, technique=params.technique, block=columns.block)
        ctx.report(
            pairs=len(pairs),
            edit_columns=columns.edit.shape[1],
            preserve_columns=count,
            preserve_scale=w_p,
            matrices=len(weights),
            null_prompt_change=drift,
            edit_encode_seconds=encoded - start,
            preserve_and_solve_seconds=solved - encoded,
            apply_seconds=perf_counter() - checked,
        )


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
