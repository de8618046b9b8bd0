"""Where a model's files are, what they say and their digest; light, so that a plan can be made without torch."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from unlearnbench.api import ModelInfo
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.identity import digest, digest_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from unlearnbench.spec import ModelSpec

_DOWNLOADS: ContextVar[bool] = ContextVar("absent models are downloaded", default=True)
File = tuple[str, Path]  # name within the model folder, and where it is

WEIGHTS = {"unet": "diffusion_pytorch_model", "text_encoder": "model", "vae": "diffusion_pytorch_model"}
_CLASSES = {"unet": "UNet2DConditionModel", "text_encoder": "CLIPTextModel", "vae": "AutoencoderKL"}
_TOKENIZER = (
    "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json",
)  # fmt: skip
_PIPELINE = (
    "model_index.json", "scheduler/scheduler_config.json", *(f"tokenizer/{name}" for name in _TOKENIZER),
    *(f"{part}/{name}" for part, stem in WEIGHTS.items() for name in ("config.json", f"{stem}*.safetensors*")),
)  # fmt: skip
_OTHER_VARIANTS = ("*.fp16*", "*non_ema*", "*ema_only*")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_REMEMBER = 64 << 20  # bytes of files from which on a digest is remembered


# ---------------------------------------------------------------- where
def resolve_folder(spec: ModelSpec, shipped: Mapping[str, Path]) -> Path | str:
    """Return the folder of a shipped model or of a local path, else the hub id, in this order.

    Args:
        spec: the model as the user names it.
        shipped: folders of the models that installed distributions ship, by name.

    Raises:
        UserError: the id is none of the three.
    """
    if spec.id in shipped:
        return shipped[spec.id]
    path = Path(spec.id).expanduser()
    if path.is_dir():
        return path
    if _HUB_ID.fullmatch(spec.id):
        return spec.id
    close = get_close_matches(spec.id, shipped, n=1)
    known = (
        f"did you mean {close[0]}?" if close else f"models that are installed: {', '.join(sorted(shipped)) or 'none'}"
    )
    raise UserError(
        f"there is no model {spec.id!r}",
        f"name a folder, a hub id such as 'owner/name', or an installed model; {known}",
    )


@contextmanager
def nothing_downloaded() -> Iterator[None]:
    """Have `local_folder` find only what is on this machine, whoever calls it meanwhile."""
    token = _DOWNLOADS.set(False)
    try:
        yield
    finally:
        _DOWNLOADS.reset(token)


def local_folder(
    source: Path | str,
    revision: str | None = None,
    *,
    patterns: Sequence[str] = _PIPELINE,
    files: Callable[[Path], Sequence[File]] | None = None,
) -> Path:
    """Return the folder on this machine of what `resolve_folder` returned.

    A hub id is looked up in the hub's cache first, so that a cached model needs no network.

    Args:
        source: folder or hub id.
        revision: git revision of a hub id.
        patterns: the files that are wanted; the default is a Stable Diffusion pipeline without a safety checker.
        files: lists the files that a complete folder has; default `pipeline_files`.

    Raises:
        PrerequisiteError: the model is not in the cache, and cannot be downloaded, or may not (`nothing_downloaded`).
    """
    if isinstance(source, Path):
        return source
    from huggingface_hub import snapshot_download

    wanted = {"revision": revision, "allow_patterns": list(patterns), "ignore_patterns": list(_OTHER_VARIANTS)}
    try:
        folder = Path(snapshot_download(source, local_files_only=True, **wanted))
        if _complete(folder, files or pipeline_files):
            return folder
        reason = "only part of it is in the cache"
    except (OSError, ValueError) as error:
        reason = type(error).__name__
    if _DOWNLOADS.get():
        from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

        silent = not sys.stderr.isatty() and not are_progress_bars_disabled()
        if silent:
            disable_progress_bars()
        try:
            return Path(snapshot_download(source, **wanted))
        except (OSError, ValueError, RuntimeError) as error:  # what the hub client raises, offline mode included
            reason = type(error).__name__
        finally:
            if silent:
                enable_progress_bars()
    at = f" --revision {revision}" if revision else ""
    raise PrerequisiteError(
        f"model {source} is not on this machine and was not downloaded ({reason})",
        f"on a machine with network: hf download {source}{at}; or name a folder that holds it",
    )


def _complete(folder: Path, files: Callable[[Path], Sequence[File]]) -> bool:
    try:
        return all(path.is_file() for _, path in files(folder))
    except UserError:
        return False


# ---------------------------------------------------------------- which files
def pipeline_files(folder: Path) -> list[File]:
    """List the files of a Stable Diffusion pipeline that decide what it does: (name in the folder, path).

    Of several variants of the same weights one is chosen: full precision before fp16, never a pickle.

    Raises:
        UserError: the folder holds no Stable Diffusion 1.x or 2.x pipeline, or no safetensors weights.
    """
    index = read_json(folder / "model_index.json", "save a StableDiffusionPipeline there with save_pretrained")
    for part, expected in _CLASSES.items():
        found = (index.get(part) or [None, None])[-1]
        if found != expected:
            raise UserError(
                f"{folder} is not a Stable Diffusion 1.x or 2.x pipeline: its {part} is {found or 'absent'}",
                f"use a pipeline whose {part} is {expected}",
            )
    names = ["model_index.json", "scheduler/scheduler_config.json"]
    names += [f"tokenizer/{name}" for name in _TOKENIZER if (folder / "tokenizer" / name).is_file()]
    for part, stem in WEIGHTS.items():
        names += [f"{part}/{name}" for name in ("config.json", *weight_files(folder / part, stem))]
    return [(name, folder / name) for name in names]


def weight_files(folder: Path, stem: str) -> list[str]:
    """List the weight files of one model: one safetensors file, or an index and its shards.

    Raises:
        UserError: there are none, or only pickled ones.
    """
    for variant in ("", ".fp16"):
        if (folder / f"{stem}{variant}.safetensors").is_file():
            return [f"{stem}{variant}.safetensors"]
        index = f"{stem}.safetensors.index{variant}.json"
        if (folder / index).is_file():
            shards = read_json(folder / index, "download the model again")["weight_map"]
            return [index, *sorted(set(shards.values()))]
    pickled = any(folder.glob("*.bin")) or any(folder.glob("*.ckpt"))
    raise UserError(
        f"{folder} holds no {stem}.safetensors" + (", only pickled weights, which are never loaded" if pickled else ""),
        "save the model with save_pretrained(folder, safe_serialization=True)",
    )


def variant_of(files: Sequence[str]) -> str | None:
    """Return the variant that weight files are stored in, as `from_pretrained` wants it."""
    return "fp16" if any(".fp16." in name for name in files) else None


def read_json(path: Path, hint: str) -> dict[str, Any]:
    """Read a JSON object that is part of a model.

    Raises:
        UserError: the file is absent or damaged; `hint` says what to do.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} has no {path.name}", hint) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}", hint) from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object", hint)
    return value


# ---------------------------------------------------------------- what they say
def fingerprint_folder(folder: Path) -> str:
    """Return the tagged digest of names and contents of all files of a Stable Diffusion pipeline.

    Raises:
        UserError: as `pipeline_files`.
    """
    return fingerprint_files(pipeline_files(folder))


def fingerprint_files(files: Sequence[File]) -> str:
    """Return `digest_files(files)`, remembered for large files by their path, size and time of modification.

    Raises:
        PrerequisiteError: a file is missing or cannot be read.
    """
    try:
        stats = [(name, str(path.resolve()), path.stat()) for name, path in files]
        if sum(stat.st_size for *_, stat in stats) < _REMEMBER:
            return digest_files(files)
        state = digest([[name, path, stat.st_size, stat.st_mtime_ns] for name, path, stat in sorted(stats)])
        note = Path(platformdirs.user_cache_dir("unlearnbench", appauthor=False), "fingerprints", state.split(":")[1])
        if note.is_file():
            return note.read_text(encoding="ascii")
        fingerprint = digest_files(files)
    except OSError as error:
        raise PrerequisiteError(
            f"a model file cannot be read: {error}", "restore the file or download it again"
        ) from None
    _remember(note, fingerprint)
    return fingerprint


def model_info(spec: ModelSpec, folder: Path) -> ModelInfo:
    """Return what the configuration files and the headers of the weight files of a pipeline say.

    Raises:
        UserError: as `pipeline_files`; or the pipeline predicts neither noise nor velocity, or its UNet is not a
            text-to-image one.
    """
    files = pipeline_files(folder)
    unet, text, scheduler = (
        read_json(folder / name, "download the model again")
        for name in ("unet/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json")
    )
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction") or unet.get("in_channels", 4) != 4:
        raise UserError(
            f"{folder} is not a text-to-image model that predicts noise or velocity",
            "use a Stable Diffusion 1.x or 2.x text-to-image pipeline",
        )
    return ModelInfo(
        id=spec.id,
        fingerprint=fingerprint_files(files),
        family="sd",
        prediction=prediction,
        text_width=text.get("hidden_size", 512),
        text_layers=text.get("num_hidden_layers", 12),
        text_positions=text.get("max_position_embeddings", 77),
        latent_size=unet.get("sample_size") or 64,
        parameters=sum(
            _count(path)
            for name, path in files
            if name.startswith(("unet/", "text_")) and path.suffix == ".safetensors"
        ),
    )


def _count(path: Path) -> int:
    """Count the parameters of a safetensors file by its header."""
    return sum(_product(entry["shape"]) for name, entry in _header(path) if not name.endswith("position_ids"))


def _header(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(stream.read(length))
        return ((name, entry) for name, entry in header.items() if name != "__metadata__")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a safetensors file: {error}", "download the model again") from None


def _product(shape: Sequence[int]) -> int:
    whole = 1
    for size in shape:
        whole *= size
    return whole


def _remember(note: Path, fingerprint: str) -> None:
    """Write a note for the next run; a machine without a writable cache simply hashes again."""
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        draft = note.with_suffix(f".{os.getpid()}")
        draft.write_text(fingerprint, encoding="ascii")
        draft.replace(note)
    except OSError:
        return
