"""Put weights that were made elsewhere in place of the model's."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from safetensors import safe_open

from unlearnbench.api import Method, Params, Task
from unlearnbench.edits import read_edit
from unlearnbench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from unlearnbench.api import EditContext, Request, Sampling
    from unlearnbench.model import Model
    from unlearnbench.weights.lowrank import LowRank
    from unlearnbench.weights.source import Source


class Weights(Method[Params]):
    """Weights from files, for each forgotten concept its own.

    Args:
        params: none.
        sources: concept -> its weights, matched with the model.
    """

    params_type: ClassVar[type[Params]] = Params
    tasks: ClassVar[tuple[Task, ...]] = ("erase", "moderate", "debias", "data")

    def __init__(self, params: Params, sources: Mapping[str, Source]) -> None:
        super().__init__(params)
        self.sources = sources

    def edit(self, model: Model, request: Request, ctx: EditContext) -> Sampling | None:
        """Set the tensors to their values in the files; what an edit file asks of the sampler is asked again."""
        source = self.sources[request.forget[0].id]
        ctx.report(form=source.form, file=str(source.path), tensors=len(source.tensors) + len(source.factors))
        values = _whole(source) | {name: updated(model, name, part) for name, part in source.factors.items()}
        sampling = read_edit(source.path).sampling if source.form == "edit file" else None
        if values:
            model.apply(values)
        elif sampling is None:
            raise UserError(f"{source.path} holds no tensor", "name the file that the edit was saved to")
        return sampling


def _whole(source: Source) -> dict[str, torch.Tensor]:
    """Return the whole tensors of a source, each file opened once."""
    values: dict[str, torch.Tensor] = {}
    for file in dict.fromkeys(file for file, _ in source.tensors.values()):
        with safe_open(file, framework="pt") as stream:
            values |= {name: stream.get_tensor(own) for name, (at, own) in source.tensors.items() if at == file}
    return values


def updated(model: Model, name: str, factors: LowRank) -> torch.Tensor:
    """Return W + scale * up @ down, in float32 and then in the weight's own dtype."""
    weight = _parameter(model, name)
    with safe_open(factors.file, framework="pt") as stream:
        down, up = (stream.get_tensor(part).float() for part in (factors.down, factors.up))
        alpha = None if factors.alpha is None else float(stream.get_tensor(factors.alpha))
    scale = factors.scale if alpha is None else alpha / down.shape[0]
    change = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    new: torch.Tensor = (weight.detach().cpu().float() + scale * change).to(weight.dtype)
    return new


def _parameter(model: Model, name: str) -> torch.Tensor:
    """Return a tensor of the model by its name in an edit file, in either layout of the text encoder."""
    part, _, rest = name.partition(".")
    owner = model.unet if part == "unet" else model.text_encoder
    own: dict[str, torch.Tensor] = dict(owner.named_parameters())
    return own[rest] if rest in own else own[rest.removeprefix("text_model.")]
