"""A zero-shot CLIP classifier as an unlearnbench evaluator."""

from unlearnbench.api import EvaluatorSpec, hookimpl


@hookimpl
def unlearnbench_evaluators() -> list[EvaluatorSpec]:
    """Register the evaluator `clip`."""
    return [
        EvaluatorSpec(
            name="clip",
            target="unlearnbench_clip.evaluator:Clip",
            params="unlearnbench_clip.params:ClipParams",
            summary="zero-shot CLIP classifier: softmax over the concept, its target and the other classes of its kind",
            paper="Radford et al., Learning Transferable Visual Models From Natural Language Supervision (2021)",
        )
    ]
