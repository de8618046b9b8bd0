"""AlphaEdit: new values for edit prompts, in directions that retain prompts do not use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from unlearnbench.api import Method
from unlearnbench.editing.layers import frozen
from unlearnbench.editing.prompts import edit_pairs, retained
from unlearnbench.errors import UserError
from unlearnbench_alphaedit.encoder import fc2_layers, moments
from unlearnbench_alphaedit.nullspace import NullSpace, null_space
from unlearnbench_alphaedit.params import AlphaEditParams
from unlearnbench_alphaedit.places import InTextEncoder, InUNet, prepare
from unlearnbench_alphaedit.session import Constraint, Session, Trace
from unlearnbench_alphaedit.unet import ffn_layers, ffn_moments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unlearnbench.api import EditContext, ModelInfo, Request
    from unlearnbench.model import Model
    from unlearnbench_alphaedit.encoder import Name
    from unlearnbench_alphaedit.nullspace import Moment
    from unlearnbench_alphaedit.places import Place


class AlphaEdit(Method[AlphaEditParams]):
    """Edit fc2 weights by Δ = R K1ᵀ P (K1 K1ᵀ P + λ I)⁻¹, V1 found through the UNet.

    Choudhary and Agrawal, Editing Concepts in Diffusion Models (2025), after AlphaEdit (arXiv:2410.02355).
    """

    params_type = AlphaEditParams

    def supports(self, model: ModelInfo, request: Request) -> str | None:
        """Refuse models without a CLIP text encoder, layers that it lacks, and concepts without edit prompts."""
        if model.family != "sd":
            return f"AlphaEdit edits a CLIP text encoder, and a model of family '{model.family}' has none it knows"
        if high := [layer for layer in self.params.layers or () if layer >= model.text_layers]:
            return f"the text encoder has {model.text_layers} layers, numbered from 0, and no layer {max(high)}"
        missing = [concept.id for concept in request.forget if not edit_pairs(concept, self.params.pairs)]
        return f"there are no edit prompts for {', '.join(missing)} (use pairs = 'names')" if missing else None

    @torch.no_grad()
    def edit(self, model: Model, request: Request, ctx: EditContext) -> None:
        """Change the weights of the chosen layers, and nothing else.

        Several concepts are edited one after the other; all prompts are encoded before the first edit.

        Raises:
            UserError: there is no layer to edit.
        """
        params = self.params
        layers = choose(model, params)
        before = {name: layer.weight.clone() for name, layer in layers.items()}
        pairs = {concept.id: edit_pairs(concept, params.pairs) for concept in request.forget}
        retain = retained(request.retain, [prompt for rows in pairs.values() for prompt, _ in rows])

        with frozen(model.text_encoder, model.unet):
            place: Place
            if params.matrices == "text":
                place, kept = InTextEncoder(model), layers
                constraints = constrain(moments(model, layers, retain), params)
            else:
                place, kept = InUNet(model, layers, {f"{name}.weight": W for name, W in before.items()}), {}
                constraints = constrain(ffn_moments(model, layers, retain, params, ctx), params)
            material = {concept: prepare(model, kept, rows) for concept, rows in pairs.items()}
            several = params.protect_earlier and len(pairs) > 1
            session = Session(params, model, place, layers, constraints, ctx, remember_keys=several)
            traces: dict[str, Trace] = {}
            for concept in pairs:
                traces[concept] = session.erase(concept, material[concept])
                for number, keys in traces[concept].keys.items():
                    earlier = constraints[number].previous
                    constraints[number].previous = keys if earlier is None else earlier + keys
        spaces = {str(number): c.held for number, c in constraints.items() if isinstance(c.held, NullSpace)}
        ctx.report(
            layers=list(layers),
            pairs={concept: len(rows) for concept, rows in pairs.items()},
            retain_prompts=len(retain),
            null_dim={number: space.dim for number, space in spaces.items()},
            null_leakage={number: space.leakage for number, space in spaces.items()},
            null_spectrum={number: space.spectrum() for number, space in spaces.items()},
            eigenvalue_quantiles={number: space.quantiles() for number, space in spaces.items()},
            losses={concept: trace.losses for concept, trace in traces.items()},
            aligned={concept: trace.aligned for concept, trace in traces.items()},
            residual={concept: trace.residual for concept, trace in traces.items()},
            weight_change={
                str(number): float((layer.weight - before[number]).norm() / before[number].norm())
                for number, layer in layers.items()
            },
        )


def choose(model: Model, params: AlphaEditParams) -> dict[Name, torch.nn.Linear]:
    """Return the layers to edit, in the order in which the model runs them.

    Raises:
        UserError: there is none.
    """
    if params.matrices == "ffn":
        if not (found := ffn_layers(model.unet)):
            raise UserError("The UNet has no feed-forward layer to edit.", "Edit the text encoder: -p matrices=text")
        return found
    every, chosen = fc2_layers(model.text_encoder), params.layers
    layers = {n: layer for n, layer in every.items() if (n != 0 if chosen is None else n in chosen)}
    if not layers:
        raise UserError("The text encoder has no such fc2 layer to edit.", "Name its layers: -p layers=[0]")
    return layers


def constrain(found: Mapping[Name, Moment], params: AlphaEditParams) -> dict[Name, Constraint]:
    """Return what holds each layer: the null space of K0, or K0 K0ᵀ itself for unprojected updates."""
    if not params.projection:
        return {name: Constraint(moment.gram) for name, moment in found.items()}
    return {
        name: Constraint(
            null_space(
                moment.gram,
                moment.columns,
                rule=params.null_rule,
                tol=params.null_tol,
                min_dim=params.min_dim,
                max_dim=params.max_dim,
            )
        )
        for name, moment in found.items()
    }
