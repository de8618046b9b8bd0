"""Which packages and weights the further metrics stand for; light, as fingerprints are taken without torch."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from unlearnbench.errors import PrerequisiteError

PACKAGES: Final = {"lpips": "lpips", "fid": "torch-fidelity"}
WEIGHTS: Final = {
    "lpips": "LPIPS 0.1, AlexNet of torchvision",
    "fid": "Inception v3 of FID, pt_inception-2015-12-05-6726825d",
}


def identify(extra: str) -> str:
    """Return the weights of a metric and the version of its package, as they enter the fingerprint.

    Raises:
        PrerequisiteError: the package is not installed; no other metric takes its place.
    """
    try:
        return f"{WEIGHTS[extra]}; {PACKAGES[extra]} {version(PACKAGES[extra])}"
    except PackageNotFoundError as error:
        raise PrerequisiteError(
            f"drift: {extra} needs the package {PACKAGES[extra]} (weights: {WEIGHTS[extra]})",
            f"type pip install 'unlearnbench-drift[{extra}]', or leave {extra} out of -p drift.extras",
        ) from error
