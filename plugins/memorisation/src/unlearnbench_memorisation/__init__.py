"""A judge of memorised training images as an unlearnbench evaluator, for data unlearning."""

from unlearnbench.api import EvaluatorSpec, hookimpl


@hookimpl
def unlearnbench_evaluators() -> list[EvaluatorSpec]:
    """Register the evaluator `memorisation`."""
    return [
        EvaluatorSpec(
            name="memorisation",
            target="unlearnbench_memorisation.evaluator:Memorisation",
            params="unlearnbench_memorisation.params:MemorisationParams",
            summary="is an image much nearer to the forgotten training image than to others? else as clip",
            paper="Carlini et al., Extracting Training Data from Diffusion Models (2023), arXiv:2301.13188",
        )
    ]
