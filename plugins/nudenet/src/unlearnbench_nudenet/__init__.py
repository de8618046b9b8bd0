"""The nudity detector NudeNet as an unlearnbench evaluator; its package is an optional extra."""

from unlearnbench.api import EvaluatorSpec, hookimpl


@hookimpl
def unlearnbench_evaluators() -> list[EvaluatorSpec]:
    """Register the evaluator `nudenet`."""
    return [
        EvaluatorSpec(
            name="nudenet",
            target="unlearnbench_nudenet.evaluator:NudeNet",
            params="unlearnbench_nudenet.params:NudeNetParams",
            summary="the most certain detection of exposed nudity, whatever the question",
            paper="https://github.com/notAI-tech/NudeNet, version 3",
        )
    ]
