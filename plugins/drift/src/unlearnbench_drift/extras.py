"""Metrics with weights of their own, each from a package that is not installed by default; none is ever replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unlearnbench.errors import PrerequisiteError
from unlearnbench_drift.identity import WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def load_lpips(device: torch.device) -> Lpips:
    """Load LPIPS.

    Raises:
        PrerequisiteError: its package does not import, or its weights cannot be had.
    """
    try:
        return Lpips(device)
    except Exception as error:  # a package of others, and weights from their servers
        raise _absent("lpips", error) from error


def load_inception(device: torch.device) -> Inception:
    """Load the Inception network of FID.

    Raises:
        PrerequisiteError: its package does not import, or its weights cannot be had.
    """
    try:
        return Inception(device)
    except Exception as error:  # as above
        raise _absent("fid", error) from error


def _absent(extra: str, error: Exception) -> PrerequisiteError:
    reason = (str(error).splitlines() or [""])[0]
    return PrerequisiteError(
        f"drift: {extra} ({WEIGHTS[extra]}) cannot be loaded: {type(error).__name__}: {reason}",
        f"mend its installation, or leave {extra} out of -p drift.extras",
    )


class Lpips:
    """LPIPS 0.1 on AlexNet at the images' own size (Zhang et al. 2018, arXiv:1801.03924)."""

    def __init__(self, device: torch.device) -> None:
        import lpips

        self._device = device
        self._net: Any = lpips.LPIPS(net="alex", version="0.1", verbose=False).to(device).eval()

    @torch.inference_mode()
    def distances(self, edited: Sequence[Floats], reference: Sequence[Floats]) -> list[float]:
        """Return the distance of each pair of images, [h, w, 3] each, in [0, 1]."""
        one, other = (_tensor(images, self._device) for images in (edited, reference))
        found: list[float] = self._net(2.0 * one - 1.0, 2.0 * other - 1.0).flatten().double().tolist()
        return found


class Inception:
    """The Inception network of the published FID, as torch-fidelity converted it."""

    def __init__(self, device: torch.device) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        self._device = device
        self._net: Any = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).to(device).eval()

    @torch.inference_mode()
    def features(self, images: Sequence[Floats]) -> Floats:
        """Return [n, 2048] of images [h, w, 3] in [0, 1]."""
        batch = _tensor(images, self._device)
        found: Floats = self._net((255.0 * batch).round().to(torch.uint8))[0].double().cpu().numpy()
        return found


def _tensor(images: Sequence[Floats], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.stack(images).astype(np.float32)).permute(0, 3, 1, 2).to(device)
