"""Data unlearning as unlearnbench methods: SISS, and the baselines NegGrad, EraseDiff and naive deletion."""

from unlearnbench.api import MethodSpec, hookimpl

_SISS = "Alberti et al., Data Unlearning in Diffusion Models, ICLR 2025 (arXiv:2503.01034)"


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    """Register `siss`, `neggrad`, `erasediff` and `naive-deletion`."""
    return [
        MethodSpec(
            name=name,
            target=f"unlearnbench_siss.method:{target}",
            params=f"unlearnbench_siss.params:{target}Params",
            summary=summary,
            paper=paper,
            edits=("unet.*",),
            quick={"iterations": 2, "accumulation": 2, "learning_rate": 1e-3},
        )
        for name, target, summary, paper in (
            (
                "siss",
                "SISS",
                "the UNet trained away from the forget images, by importance sampling from a mixture",
                _SISS,
            ),
            ("neggrad", "NegGrad", "the UNet trained to have a large loss on the forget images", _SISS),
            (
                "erasediff",
                "EraseDiff",
                "the UNet trained to predict meaningless noise for the forget images, and to keep the others",
                "Wu et al., EraseDiff: Erasing Data Influence in Diffusion Models (arXiv:2401.05779)",
            ),
            ("naive-deletion", "NaiveDeletion", "the UNet trained further on the images that are retained", _SISS),
        )
    ]
