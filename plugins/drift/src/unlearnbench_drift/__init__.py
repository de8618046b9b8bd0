"""Distances between the images of an edited model and those of the unedited one, as an unlearnbench set evaluator."""

from unlearnbench.api import EvaluatorSpec, hookimpl


@hookimpl
def unlearnbench_set_evaluators() -> list[EvaluatorSpec]:
    """Register the set evaluator `drift`."""
    return [
        EvaluatorSpec(
            name="drift",
            target="unlearnbench_drift.evaluator:Drift",
            params="unlearnbench_drift.params:DriftParams",
            summary="distances from the unedited model's images, KID, CLIPScore, diversity, blank images",
            paper="Binkowski et al., Demystifying MMD GANs (2018), arXiv:1801.01401; Wang et al., SSIM (2004)",
        )
    ]
