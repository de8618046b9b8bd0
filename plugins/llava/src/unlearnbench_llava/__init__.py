"""LLaVA-1.5 as an unlearnbench evaluator."""

from unlearnbench.api import EvaluatorSpec, hookimpl


@hookimpl
def unlearnbench_evaluators() -> list[EvaluatorSpec]:
    """Register the evaluator `llava`."""
    return [
        EvaluatorSpec(
            name="llava",
            target="unlearnbench_llava.evaluator:Llava",
            params="unlearnbench_llava.params:LlavaParams",
            summary="a LLaVA-1.5 model answers yes or no: does this image show the concept?",
            paper="Liu et al., Improved Baselines with Visual Instruction Tuning (2024)",
        )
    ]
