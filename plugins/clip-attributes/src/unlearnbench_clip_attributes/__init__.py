"""A judge of attributes as an unlearnbench evaluator, for debiasing."""

from unlearnbench.api import EvaluatorSpec, hookimpl


@hookimpl
def unlearnbench_evaluators() -> list[EvaluatorSpec]:
    """Register the evaluator `clip-attributes`."""
    return [
        EvaluatorSpec(
            name="clip-attributes",
            target="unlearnbench_clip_attributes.evaluator:Attributes",
            params="unlearnbench_clip_attributes.params:AttributesParams",
            summary="zero-shot CLIP classifier of the concept, and of the attribute that it is drawn with",
            paper="Gandikota et al., Unified Concept Editing in Diffusion Models, WACV 2024 (arXiv:2308.14761)",
        )
    ]
