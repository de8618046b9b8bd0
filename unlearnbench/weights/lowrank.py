"""Low-rank factors (LoRA) in files, matched with the weights that they update: W' = W + scale * up @ down.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021), section 4.1; the scale is alpha / rank where a
file tells alpha, and 1 where it does not, as diffusers has it.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.weights.names import Shapes, refusal, spellings

if TYPE_CHECKING:
    from pathlib import Path

_ROLES = {"lora_A": "down", "lora.down": "down", "lora_down": "down", "lora_B": "up", "lora.up": "up", "lora_up": "up"}
_FACTOR = re.compile(r"(?P<module>.+)\.(?P<role>lora_[AB]|lora[._](?:down|up))(?:\.default)?\.weight")
_PROCESSOR = re.compile(r"(?P<stem>.+)\.processor\.(?P<layer>to_[qkv]|to_out)_lora\.(?P<role>down|up)\.weight")
_METADATA = "lora_adapter_metadata"  # where diffusers keeps the settings of PEFT


@dataclass(frozen=True)
class LowRank:
    """The factors of one weight.

    Attributes:
        file: holds them.
        down: name of the factor [rank, in, ...].
        up: name of the factor [out, rank, ...].
        alpha: name of a tensor with alpha; None = there is none.
        scale: what up @ down is multiplied by, if there is no such tensor.
    """

    file: Path
    down: str
    up: str
    alpha: str | None
    scale: float


def is_low_rank(names: Shapes) -> bool:
    """Tell whether a file holds low-rank factors, by its names."""
    return any("lora" in name for name in names)


def low_rank_factors(path: Path, own: Shapes, metadata: dict[str, str], shapes: Shapes) -> dict[str, LowRank]:
    """Return name in the model -> its factors.

    Args:
        path: safetensors file; settings of PEFT are read from `adapter_config.json` beside it.
        own: shapes of its tensors.
        metadata: of its header.
        shapes: of the model's tensors.

    Raises:
        UserError: a tensor is no factor, a factor lacks its counterpart, or a name or a shape is not the model's.
    """
    modules: dict[str, dict[str, str]] = {}
    for name in own:
        if name.endswith(".alpha"):
            module, role = name.removesuffix(".alpha"), "alpha"
        elif match := _FACTOR.fullmatch(name):
            module, role = match["module"], _ROLES[match["role"]]
        elif match := _PROCESSOR.fullmatch(name):
            layer = "to_out.0" if match["layer"] == "to_out" else match["layer"]
            module, role = f"{match['stem']}.{layer}", match["role"]
        else:
            raise UserError(f"{path}: {name} is no low-rank factor", "merge the adapter into its model, and name that")
        modules.setdefault(module, {})[role] = name
    flat = {name.removesuffix(".weight").replace(".", "_"): name for name in shapes if name.endswith(".weight")}
    places = {module: _place(module, shapes, flat) for module in modules}
    if unknown := [module for module, place in places.items() if place is None]:
        raise refusal(path, [f"{module}.weight" for module in unknown], shapes)
    settings = _settings(path, metadata)
    found: dict[str, LowRank] = {}
    for module, parts in modules.items():
        place = str(places[module])
        if not {"down", "up"} <= set(parts):
            raise UserError(f"{path}: {module} lacks one of its two factors", "save the adapter again")
        down, up, whole = own[parts["down"]], own[parts["up"]], shapes[place]
        if (up[0], *down[1:]) != whole or up[1] != down[0] or math.prod(up[2:]) != 1:
            raise UserError(
                f"{path}: factors {up} and {down} do not make {place}, which has shape {whole}",
                "use the model that the adapter was made for",
            )
        scale = _scale(settings, place, down[0])
        found[place] = LowRank(path, parts["down"], parts["up"], parts.get("alpha"), scale)
    return found


def _place(module: str, shapes: Shapes, flat: dict[str, str]) -> str | None:
    """Return the name of the weight of a module, whichever way the module is spelt."""
    plain = module.removeprefix("base_model.model.")
    for spelt in spellings(f"{plain}.weight"):
        if spelt in shapes:
            return spelt
    kohya = plain.replace("lora_unet_", "unet_", 1).replace("lora_te_", "text_encoder_", 1)
    return flat.get(kohya)


def _settings(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """Return the settings of PEFT, each under its part ('unet.', 'text_encoder.') or under no part."""
    try:
        if _METADATA in metadata:
            return dict(json.loads(metadata[_METADATA]))
        beside = path.with_name("adapter_config.json")
        return dict(json.loads(beside.read_text(encoding="utf-8"))) if beside.is_file() else {}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"the settings of {path} cannot be read: {error}", "save the adapter again") from None


def _scale(settings: dict[str, Any], place: str, rank: int) -> float:
    part = place.partition(".")[0]

    def setting(name: str) -> Any:
        return settings.get(f"{part}.{name}", settings.get(name))

    if setting("use_dora") or setting("alpha_pattern"):
        what = "use_dora" if setting("use_dora") else "alpha_pattern"
        raise UserError(f"the adapter uses {what}", "merge the adapter into its model, and name that with --weights")
    alpha = setting("lora_alpha")
    if alpha is None:
        return 1.0
    return float(alpha) / (math.sqrt(rank) if setting("use_rslora") else rank)
