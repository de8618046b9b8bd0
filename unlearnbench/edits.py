"""Edits: what tells an edited module from its base, and the files that hold the changed tensors."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from unlearnbench.api import Sampling
from unlearnbench.errors import UserError
from unlearnbench.identity import canonical_json, short
from unlearnbench.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from unlearnbench.api import ModelInfo

FORMAT = "unlearnbench-edit/1"


# ---------------------------------------------------------------- edit files
@dataclass(frozen=True)
class EditFile:
    """One edit: the final values of the tensors it changed, and where they come from.

    Attributes:
        tensors: 'unet.<name>' and 'text_encoder.text_model.<name>' -> final value; empty for an edit that acts at
            inference only.
        key: edit key.
        base: fingerprint of the model it was made from.
        task: the `EditTask` as JSON.
        sampling: what the harness does at inference; None if the weights say it all.
        seconds: wall time of the method.
        peak_mem_mb: peak memory of the method in MB; NaN if unknown.
        report: the method's own diagnostics.
        verdict: what became of the edit; None if it was made before there were verdicts.
    """

    tensors: Mapping[str, torch.Tensor]
    key: str
    base: str
    task: dict[str, Any]
    sampling: Sampling | None = None
    seconds: float = float("nan")
    peak_mem_mb: float = float("nan")
    report: dict[str, Any] = field(default_factory=dict)
    verdict: Verdict | None = None


def write_edit(path: Path, edit: EditFile) -> None:
    """Write an edit as a safetensors file with everything but the tensors as strings in its header.

    The file is not moved or fsynced: the caller writes to a temporary folder and publishes that.
    """
    metadata = {
        "format": FORMAT,
        "key": edit.key,
        "base": edit.base,
        "task": canonical_json(edit.task),
        "sampling": canonical_json(edit.sampling),
        "seconds": repr(float(edit.seconds)),
        "peak_mem_mb": repr(float(edit.peak_mem_mb)),
        "report": json.dumps(edit.report, default=_plain),
        "verdict": canonical_json(edit.verdict),
    }
    # safetensors refuses tensors that share memory, which is what a method that ties weights leaves behind.
    save_file({name: cpu_copy(tensor) for name, tensor in edit.tensors.items()}, path, metadata=metadata)


def read_edit(path: Path) -> EditFile:
    """Read an edit file.

    Raises:
        UserError: the file is absent, damaged, or not an edit file of this version.
    """
    hint = "name the edit.safetensors of a finished edit, or make the edit again"
    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            metadata: dict[str, str] = stream.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise UserError(f"{path} is not an edit file: its format is {metadata.get('format')}", hint)
            sampling, verdict = json.loads(metadata["sampling"]), json.loads(metadata.get("verdict", "null"))
            return EditFile(
                tensors={name: stream.get_tensor(name) for name in sorted(stream.keys())},
                key=metadata["key"],
                base=metadata["base"],
                task=json.loads(metadata["task"]),
                sampling=None if sampling is None else Sampling.model_validate(sampling),
                seconds=float(metadata["seconds"]),
                peak_mem_mb=float(metadata["peak_mem_mb"]),
                report=json.loads(metadata["report"]),
                verdict=None if verdict is None else Verdict.model_validate(verdict),
            )
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as safetensors: {error}", hint) from None
    except (KeyError, ValueError, ValidationError) as error:
        raise UserError(f"the header of {path} is damaged: {error}", hint) from None


def check_base(edit: EditFile, info: ModelInfo) -> None:
    """Refuse an edit of another model.

    Raises:
        UserError: the edit was made from a model with another fingerprint.
    """
    if edit.base != info.fingerprint:
        raise UserError(
            f"the edit was made from the model {short(edit.base)}, and {info.id} is {short(info.fingerprint)}",
            "use the model that the edit was made from, or make the edit again",
        )


def _plain(value: Any) -> Any:
    """Turn a diagnostic that JSON does not know into one that it does: arrays and scalars into lists, else text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


# ---------------------------------------------------------------- comparison and restoration
def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Return whether two tensors have the same shape, dtype and bits; a NaN equals a NaN of the same bits."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    left, right = (t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(left, right)


def cpu_copy(tensor: torch.Tensor) -> torch.Tensor:
    """Return a contiguous copy on the CPU that shares nothing with `tensor`."""
    return tensor.detach().to("cpu", copy=True).contiguous()


class Structure:
    """One module as it is now: its attributes (attention processor included), parameters, children and hooks."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._attributes = dict(vars(module))
        self._tables = {name: value.copy() for name, value in vars(module).items() if _is_table(name)}

    def restore(self) -> None:
        """Give the module back what it had, the values of its tensors excepted."""
        live = vars(self._module)
        live.clear()
        live.update(self._attributes)
        for name, table in self._tables.items():
            live[name].clear()
            live[name].update(table)


def _is_table(attribute: str) -> bool:
    return attribute in ("_parameters", "_buffers", "_modules") or attribute.endswith("_hooks")
