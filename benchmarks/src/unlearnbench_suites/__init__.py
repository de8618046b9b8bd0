"""The suites and the concept data sets that unlearnbench ships."""

from pathlib import Path

from unlearnbench.api import DatasetSpec, SuiteSource, hookimpl

_FOLDER = Path(__file__).parent / "suites"


@hookimpl
def unlearnbench_datasets() -> list[DatasetSpec]:
    """Register the data sets; their prompts are our own, and what is cited is the choice of concepts."""
    return [
        DatasetSpec(
            name="core20",
            target="unlearnbench_suites.datasets:core20",
            summary="20 objects, styles, scenes and actions, each with direct and indirect prompts",
            version="1",
            licence="Apache-2.0",
            warning="none",
            digest="ub1:8bb8a3a6df8966e961d2b2c6ecb0f9063f6c29d498401355609eb7f63da3d32c",
            citation="concepts of the Genμ challenge (U&ME workshop, ICCV 2025), as in Choudhary and Agrawal, Editing "
            "Concepts in Diffusion Models (2025)",
        ),
        DatasetSpec(
            name="imagenette10",
            target="unlearnbench_suites.datasets:imagenette10",
            summary="the ten classes of Imagenette, each with direct and indirect prompts",
            version="1",
            licence="Apache-2.0",
            warning="none",
            digest="ub1:94b2675b23ded4fe3ced8d9ee66e29d1a8d7159ff5fff392ef12024e6f7d3540",
            citation="classes of Imagenette (Howard, 2019); erased one at a time by Gandikota et al., Erasing Concepts "
            "from Diffusion Models (ICCV 2023)",
        ),
    ]


@hookimpl
def unlearnbench_suites() -> list[SuiteSource]:
    """Register `emoji-quick`, `emoji20` and `emoji-dev`."""
    return [
        SuiteSource(
            "emoji-quick",
            _FOLDER / "emoji-quick.toml",
            "one concept of each kind on the embedded model; minutes on a laptop",
        ),
        SuiteSource("emoji20", _FOLDER / "emoji20.toml", "20 concepts x 10 prompts x 2 seeds on the embedded model"),
        SuiteSource("emoji-dev", _FOLDER / "emoji-dev.toml", "3 concepts that no board evaluates, to tune on"),
        SuiteSource("core20", _FOLDER / "core20.toml", "20 concepts x 10 prompts x 2 seeds on SD 1.4, judged by LLaVA"),
        SuiteSource("core20-clip", _FOLDER / "core20-clip.toml", "the images of core20, judged by CLIP"),
        SuiteSource("imagenette10", _FOLDER / "imagenette10.toml", "ten classes x 10 prompts x 5 seeds on SD 1.4"),
        SuiteSource("own-concept", _FOLDER / "own-concept.toml", "a concept file beside eight concepts of core20"),
    ]
