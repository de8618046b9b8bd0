"""What tests of plugins need: models without a download, fakes, and the conformance checks as tests.

Importing this package loads no torch: each name is fetched from its module when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearnbench.testing.conformance import parametrize_with_checks
    from unlearnbench.testing.fakes import Brightness, BrightnessParams, Letters, ShiftParams
    from unlearnbench.testing.judges import tiny_clip
    from unlearnbench.testing.lending import edit_context, try_edit
    from unlearnbench.testing.models import sd14_shaped, tiny_folder, tiny_model
    from unlearnbench.testing.shift import Shift

__all__ = [
    "Brightness",
    "BrightnessParams",
    "Letters",
    "Shift",
    "ShiftParams",
    "edit_context",
    "parametrize_with_checks",
    "sd14_shaped",
    "tiny_clip",
    "tiny_folder",
    "tiny_model",
    "try_edit",
]

_HOMES = {
    "Brightness": "fakes",
    "BrightnessParams": "fakes",
    "Letters": "fakes",
    "Shift": "shift",
    "ShiftParams": "fakes",
    "edit_context": "lending",
    "parametrize_with_checks": "conformance",
    "sd14_shaped": "models",
    "tiny_clip": "judges",
    "tiny_folder": "models",
    "tiny_model": "models",
    "try_edit": "lending",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
