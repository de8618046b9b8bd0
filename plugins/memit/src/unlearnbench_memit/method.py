"""MEMIT: new values for edit prompts by least squares, held by the second moment of the retain inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from unlearnbench.api import Method
from unlearnbench.editing.prompts import edit_pairs, retained
from unlearnbench_memit.layers import choose
from unlearnbench_memit.moments import collect, weighted
from unlearnbench_memit.params import MEMITParams
from unlearnbench_memit.places import Place
from unlearnbench_memit.session import Session
from unlearnbench_memit.solve import Held, hold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unlearnbench.api import EditContext, ModelInfo, Request
    from unlearnbench.model import Model
    from unlearnbench_memit.moments import Moment
    from unlearnbench_memit.params import Matrices

EDITS: dict[Matrices, int] = {"text": 10, "ffn": 40, "kv": 1}


class MEMIT(Method[MEMITParams]):
    """Edit linear layers by Δ = R K1ᵀ (C0 + K1 K1ᵀ)⁻¹, R = V1 − W K1.

    Meng et al., Mass-Editing Memory in a Transformer (arXiv:2210.07229), as Choudhary and Agrawal (2025) use it.
    """

    params_type = MEMITParams

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse models of another family, layers that the encoder lacks, and concepts without edit prompts."""
        if model.family != "sd":
            return f"MEMIT edits a CLIP text encoder or UNet, and a model of family '{model.family}' has none it knows"
        if high := [layer for layer in self.params.layers or () if layer >= model.text_layers]:
            return f"the text encoder has {model.text_layers} layers, numbered from 0, and no layer {max(high)}"
        missing = [concept.id for concept in request.forget if not edit_pairs(concept, self.params.pairs)]
        return f"there are no edit prompts for {', '.join(missing)} (use pairs = 'names')" if missing else None

    @torch.no_grad()
    def edit(self, model: Model, request: Request, ctx: EditContext) -> None:
        """Change the weights of the chosen layers, and nothing else; several concepts are edited at once.

        Raises:
            UserError: there is no layer to edit.
        """
        params = self.params
        layers = choose(model, params)
        before = {name: layer.weight.clone() for name, layer in layers.items()}
        pairs = {concept.id: edit_pairs(concept, params.pairs) for concept in request.forget}
        retain = retained(request.retain, [prompt for rows in pairs.values() for prompt, _ in rows])
        moments = collect(model, layers, retain, params, ctx)
        held = factorise(moments, params)

        place = Place(model, params.matrices, layers, {f"{name}.weight": W for name, W in before.items()})
        materials = {concept: place.prepare(rows) for concept, rows in pairs.items()}
        edits = params.edits or EDITS[params.matrices]
        values = params.values or ("naive" if params.matrices == "kv" else "unet")
        trace = Session(params, edits, values, model, place, held, ctx).run(materials)
        ctx.report(
            layers=list(layers),
            pairs={concept: len(rows) for concept, rows in pairs.items()},
            retain_prompts=len(retain),
            retain_columns={name: moment.columns for name, moment in moments.items()},
            unused_directions={name: c.unused.shape[1] for name, c in held.items()},
            losses=trace.losses,
            residual=trace.residual,
            retain_change={
                name: size(layer.weight - before[name], moments[name]) / max(size(before[name], moments[name]), 1e-300)
                for name, layer in layers.items()
            },
            weight_change={
                name: float((layer.weight - before[name]).norm() / before[name].norm())
                for name, layer in layers.items()
            },
        )


def factorise(moments: Mapping[str, Moment], params: MEMITParams) -> dict[str, Held]:
    """Factorise C0 of every layer; layers that share a moment share its factors."""
    done = {id(moment): hold(weighted(moment, params)) for moment in {id(m): m for m in moments.values()}.values()}
    return {name: done[id(moment)] for name, moment in moments.items()}


def size(matrix: torch.Tensor, moment: Moment) -> float:
    """Return ‖matrix K0‖, from K0 K0ᵀ."""
    M = matrix.double()
    return float((M @ moment.gram).mul(M).sum().clamp(min=0.0).sqrt())
