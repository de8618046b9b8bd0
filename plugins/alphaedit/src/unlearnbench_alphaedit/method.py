"""AlphaEdit on the text encoder: new values for edit prompts, in directions that retain prompts do not use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from unlearnbench.api import Method
from unlearnbench.errors import UserError
from unlearnbench_alphaedit.encoder import captured, fc2_layers, moments, states, without_bias
from unlearnbench_alphaedit.nullspace import NullSpace, null_space
from unlearnbench_alphaedit.params import AlphaEditParams
from unlearnbench_alphaedit.prompts import edit_pairs, retained
from unlearnbench_alphaedit.refine import frozen
from unlearnbench_alphaedit.session import Constraint, Material, Session, Trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unlearnbench.api import EditContext, ModelInfo, Request
    from unlearnbench.model import Model


class AlphaEdit(Method[AlphaEditParams]):
    """Edit fc2 weights of the text encoder by Δ = R K1ᵀ P (K1 K1ᵀ P + λ I)⁻¹, V1 found through the UNet."""

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
        """Change the fc2 weights of the chosen layers, and nothing else.

        Several concepts are edited one after the other; all prompts are encoded before the first edit.

        Raises:
            UserError: the text encoder has no layer to edit.
        """
        params = self.params
        every = fc2_layers(model.text_encoder)
        chosen = [number for number in every if number > 0] if params.layers is None else params.layers
        layers = {number: every[number] for number in sorted(chosen) if number in every}
        if not layers:
            raise UserError("The text encoder has no such fc2 layer to edit.", "Name its layers: -p layers=[0]")
        pairs = {concept.id: edit_pairs(concept, params.pairs) for concept in request.forget}
        retain = retained(request.retain, [prompt for rows in pairs.values() for prompt, _ in rows])

        with frozen(model.text_encoder, model.unet):
            material = {concept: prepare(model, layers, rows) for concept, rows in pairs.items()}
            constraints = constrain(model, layers, retain, params)
            before = {number: layer.weight.clone() for number, layer in layers.items()}
            several = params.protect_earlier and len(pairs) > 1
            session = Session(params, model, layers, constraints, ctx, remember_keys=several)
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
            losses={concept: trace.losses for concept, trace in traces.items()},
            aligned={concept: trace.aligned for concept, trace in traces.items()},
            residual={concept: trace.residual for concept, trace in traces.items()},
            weight_change={
                str(number): float((layer.weight - before[number]).norm() / before[number].norm())
                for number, layer in layers.items()
            },
        )


def prepare(model: Model, layers: Mapping[int, torch.nn.Linear], pairs: Sequence[tuple[str, str]]) -> Material:
    """Encode the pairs of one concept with the current encoder."""
    edit = model.encode([prompt for prompt, _ in pairs])
    with captured(layers) as seen:
        target = states(model, model.tokenize([target for _, target in pairs])[0])
    return Material(
        ids=edit.ids,
        edit=edit.states,
        target=target,
        values={number: without_bias(layers[number], output) for number, (_, output) in seen.items()},
        unconditional=model.encode([""]).states,
    )


def constrain(
    model: Model, layers: Mapping[int, torch.nn.Linear], retain: Sequence[str], params: AlphaEditParams
) -> dict[int, Constraint]:
    """Find the null space of every layer, or K0 K0ᵀ for unprojected updates, with the current encoder."""
    if not params.projection:
        return {number: Constraint(moment.gram) for number, moment in moments(model, layers, retain).items()}
    return {
        number: Constraint(
            null_space(
                moment.gram,
                moment.columns,
                rule=params.null_rule,
                tol=params.null_tol,
                min_dim=params.min_dim,
                max_dim=params.max_dim,
            )
        )
        for number, moment in moments(model, layers, retain).items()
    }
