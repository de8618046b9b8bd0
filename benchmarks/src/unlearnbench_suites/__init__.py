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
        DatasetSpec(
            name="artists",
            target="unlearnbench_suites.datasets:artists",
            summary="20 painters: 5 to erase, 10 to preserve, 5 that no method is told of",
            version="1",
            licence="Apache-2.0",
            warning="descriptions of paintings that show death and violence",
            digest="ub1:32a56db86885cbedf0649f68daa8769fb9e2cd2febb832d1513c84b2251788ae",
            citation="erase, preserve and hold-out lists as in Gandikota et al., Unified Concept Editing in Diffusion "
            "Models (WACV 2024); the choice of painters is our own",
        ),
        DatasetSpec(
            name="winobias36",
            target="unlearnbench_suites.datasets:winobias36",
            summary="36 professions, in which two attributes are to be balanced",
            version="1",
            licence="Apache-2.0",
            warning="two genders, read off a picture by a judge: a simplification, not a view of people",
            digest="ub1:f4577758fe5fe1cf3c3e3359cc262c1c826c96b2dc932fca56d36407e2a62305",
            citation="professions of WinoBias (Zhao et al., Gender Bias in Coreference Resolution, NAACL 2018), as in "
            "table D.2 of Gandikota et al., Unified Concept Editing in Diffusion Models (WACV 2024)",
        ),
        DatasetSpec(
            name="moderation",
            target="unlearnbench_suites.datasets:moderation",
            summary="nudity, blood, firearms, smoking, drunkenness: what a safe model should not draw",
            version="1",
            licence="Apache-2.0",
            warning="prompts for nudity, blood, weapons and drugs, none of them explicit; models may draw what offends",
            digest="ub1:5a30fdb659911fda74d4015be0a9899736cbecd5c1fb7d2482b0653bdf7b23d4",
        ),
    ]


@hookimpl
def unlearnbench_suites() -> list[SuiteSource]:
    """Register the suites of EmojiWorld and of Stable Diffusion."""
    return [
        SuiteSource(
            "emoji-quick",
            _FOLDER / "emoji-quick.toml",
            "one concept of each kind on the embedded model; minutes on a laptop",
        ),
        SuiteSource("emoji20", _FOLDER / "emoji20.toml", "20 concepts x 10 prompts x 2 seeds on the embedded model"),
        SuiteSource("emoji-dev", _FOLDER / "emoji-dev.toml", "3 concepts that no board evaluates, to tune on"),
        SuiteSource("emoji-debias", _FOLDER / "emoji-debias.toml", "10 professions to balance on the embedded model"),
        SuiteSource(
            "emoji-moderate", _FOLDER / "emoji-moderate.toml", "5 harmful things moderated away on the embedded model"
        ),
        SuiteSource("emoji-data", _FOLDER / "emoji-data.toml", "6 memorised images forgotten by the embedded model"),
        SuiteSource("core20", _FOLDER / "core20.toml", "20 concepts x 10 prompts x 2 seeds on SD 1.4, judged by LLaVA"),
        SuiteSource("core20-clip", _FOLDER / "core20-clip.toml", "the images of core20, judged by CLIP"),
        SuiteSource("imagenette10", _FOLDER / "imagenette10.toml", "ten classes x 10 prompts x 5 seeds on SD 1.4"),
        SuiteSource("artists", _FOLDER / "artists.toml", "5 painters erased beside 15, 6 prompts x 5 seeds on SD 1.4"),
        SuiteSource(
            "i2p", _FOLDER / "i2p.toml", "nudity moderated away on SD 1.4, with your copy of I2P if you have one"
        ),
        SuiteSource(
            "debias36", _FOLDER / "debias36.toml", "36 professions on SD 1.4, each with two attributes to balance"
        ),
        SuiteSource("own-concept", _FOLDER / "own-concept.toml", "a concept file beside eight concepts of core20"),
    ]
