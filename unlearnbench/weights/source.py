"""What a file or folder of weights holds, matched with the tensors of a model by the headers alone; light.

Known are: an edit file; safetensors of whole tensors by module (`<module>.weight`), as UCE and ESD write them, or of a
whole UNet; a folder of a diffusers pipeline or UNet; low-rank factors as diffusers, PEFT or kohya's scripts write them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.identity import short
from unlearnbench.modelfiles import WEIGHTS, fingerprint_files, fingerprint_folder, weight_files
from unlearnbench.weights.lowrank import LowRank, is_low_rank, low_rank_factors
from unlearnbench.weights.names import Shapes, refusal, spellings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EDIT_FORMAT = "unlearnbench-edit/"
PARTS = ("unet", "text_encoder")
_LORA_FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
_PICKLED = (".pt", ".pth", ".bin", ".ckpt")


@dataclass(frozen=True)
class Source:
    """Weights made elsewhere, every tensor matched with one of the model's.

    Attributes:
        form: "edit file", "tensors", "pipeline", "unet" or "low rank".
        path: as the user gave it.
        digest: tagged digest of names and contents of its files.
        tensors: name in the model -> (file, name in the file), for whole tensors.
        factors: name in the model -> low-rank factors, for updates.
    """

    form: str
    path: Path
    digest: str
    tensors: Mapping[str, tuple[Path, str]] = field(default_factory=dict)
    factors: Mapping[str, LowRank] = field(default_factory=dict)


def find_source(path: Path, model: Path) -> Source:
    """Return what a path holds, matched with a model.

    Args:
        path: file or folder of weights.
        model: folder of the Stable Diffusion pipeline that they are for.

    Raises:
        PrerequisiteError: there is no such path.
        UserError: it holds no weights of a known form, only pickled ones, or tensors whose names or shapes are not the
            model's.
    """
    if not path.exists():
        raise PrerequisiteError(f"there are no weights {path}", "name a file or a folder that is there")
    shapes = model_shapes(model)
    if path.is_dir():
        return _folder(path, shapes, model)
    if path.suffix in _PICKLED:
        raise UserError(
            f"{path} is pickled, and pickles are never loaded",
            "save the tensors with safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'x.safetensors')",
        )
    return _file(path, shapes, model)


def model_shapes(folder: Path) -> Shapes:
    """Return the shape of every tensor of UNet and text encoder, under the names that edit files use.

    Raises:
        UserError: the folder holds no Stable Diffusion pipeline.
    """
    found: Shapes = {}
    for part in PARTS:
        for file in weight_files(folder / part, WEIGHTS[part]):
            if file.endswith(".safetensors"):
                for name, shape in read_shapes(folder / part / file)[0].items():
                    found[_canonical(part, name)] = shape
    return found


def read_shapes(path: Path) -> tuple[Shapes, dict[str, str]]:
    """Return shapes by name, and the metadata, from the header of a safetensors file.

    Raises:
        UserError: it is none.
    """
    try:
        with safe_open(path, framework="numpy") as stream:
            shapes = {name: tuple(stream.get_slice(name).get_shape()) for name in stream.keys()}  # noqa: SIM118
            return {n: s for n, s in shapes.items() if not n.endswith("position_ids")}, dict(stream.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as safetensors: {error}", "name a .safetensors file") from None


def _canonical(part: str, name: str) -> str:
    return f"unet.{name}" if part == "unet" else f"text_encoder.text_model.{name.removeprefix('text_model.')}"


def _folder(path: Path, shapes: Shapes, model: Path) -> Source:
    if (path / "model_index.json").is_file():
        files = [(part, path / part / f) for part in PARTS for f in weight_files(path / part, WEIGHTS[part])]
        return _whole("pipeline", path, [(p, f) for p, f in files if f.suffix == ".safetensors"], shapes)
    if (path / "edit.safetensors").is_file():
        return _file(path / "edit.safetensors", shapes, model)
    for name in _LORA_FILES:
        if (path / name).is_file():
            return _file(path / name, shapes, model)
    if any(path.glob(f"{WEIGHTS['unet']}*")):
        names = weight_files(path, WEIGHTS["unet"])
        return _whole("unet", path, [("unet", path / f) for f in names if f.endswith(".safetensors")], shapes)
    found = sorted(path.glob("*.safetensors"))
    if len(found) == 1:
        return _file(found[0], shapes, model)
    several = f"{len(found)} safetensors files, and none that is known" if found else "no safetensors"
    raise UserError(f"{path} holds {several}", "name a file, or the folder of a diffusers pipeline, UNet or LoRA")


def _file(path: Path, shapes: Shapes, model: Path) -> Source:
    own, metadata = read_shapes(path)
    if metadata.get("format", "").startswith(EDIT_FORMAT):
        base, fingerprint = metadata.get("base", ""), fingerprint_folder(model)
        if base != fingerprint:
            raise UserError(
                f"{path} was made from the model {short(base)}, and this is {short(fingerprint)}",
                "use the model that the edit was made from, or make the edit again",
            )
        return Source("edit file", path, _digest([path]), {name: (path, name) for name in _matched(path, own, shapes)})
    if is_low_rank(own):
        settings = path.with_name("adapter_config.json")
        files = [path, settings] if settings.is_file() else [path]
        return Source("low rank", path, _digest(files), factors=low_rank_factors(path, own, metadata, shapes))
    return Source("tensors", path, _digest([path]), {n: (path, o) for n, o in _matched(path, own, shapes).items()})


def _whole(form: str, path: Path, files: list[tuple[str, Path]], shapes: Shapes) -> Source:
    """Match the weight files of whole models."""
    tensors: dict[str, tuple[Path, str]] = {}
    for part, file in files:
        own = {_canonical(part, name): shape for name, shape in read_shapes(file)[0].items()}
        back = {_canonical(part, name): name for name in read_shapes(file)[0]}
        tensors |= {name: (file, back[name]) for name in _matched(file, own, shapes)}
    return Source(form, path, _digest([file for _, file in files]), tensors)


def _digest(files: list[Path]) -> str:
    return fingerprint_files([(f"{number}/{file.name}", file) for number, file in enumerate(files)])


def _matched(path: Path, own: Shapes, shapes: Shapes) -> dict[str, str]:
    """Return name in the model -> name in the file, for every tensor of the file.

    Raises:
        UserError: the file is empty, or a name or a shape is not the model's.
    """
    if not own:
        raise UserError(f"{path} holds no tensor", "name the file that the edit was saved to")
    found: dict[str, str] = {}
    unknown = []
    for name, shape in own.items():
        place = next((spelt for spelt in spellings(name) if spelt in shapes), None)
        if place is None:
            unknown.append(name)
        elif shapes[place] != shape:
            raise UserError(
                f"{path}: {name} has shape {shape}, and the model's {place} has {shapes[place]}",
                "use the model that the weights were made for",
            )
        else:
            found[place] = name
    if unknown:
        raise refusal(path, unknown, shapes)
    return found
