"""EmojiWorld: the embedded data sets of unlearnbench, a small Stable Diffusion trained on them, and its judges."""

from pathlib import Path

from unlearnbench.api import DatasetSpec, ModelSource, hookimpl

_LICENCE = "MIT, Apache-2.0, CC BY 4.0 (artwork; see NOTICE)"
_LLAVA = ModelSource(
    name="emoji-judge-llava",
    target="unlearnbench_emojiworld.models:emoji_judge_llava",
    summary="a LLaVA trained on EmojiWorld renders, apart from emoji-sd and the CLIP judge",
    licence="Apache-2.0",
)
_LLAVA_JUDGE = [_LLAVA] if (Path(__file__).parent / "weights" / "judge-llava").is_dir() else []


@hookimpl
def unlearnbench_datasets() -> list[DatasetSpec]:
    """Register `emojiworld`, `emojiworld-dev`, and a data set for each other task."""
    return [
        DatasetSpec(
            name="emojiworld",
            target="unlearnbench_emojiworld.dataset:EmojiWorld",
            summary="20 concepts of an emoji world: objects, actions, scenes and art styles",
            version="1",
            licence=_LICENCE,
            warning="none",
            digest="ub1:1d5e06c72908fb8249e33138a48c8508a50c3515bed987125ba70725d28a0544",
        ),
        DatasetSpec(
            name="emojiworld-dev",
            target="unlearnbench_emojiworld.dataset:Development",
            summary="6 concepts that no board evaluates, to choose settings on, then the 20 of emojiworld",
            version="1",
            licence=_LICENCE,
            warning="none",
            digest="ub1:dfda667e7035a4ead4b2aed741ce70fe41573c52ed83ea9d5e434d1fbb1ad5aa",
        ),
        DatasetSpec(
            name="emojiworld-debias",
            target="unlearnbench_emojiworld.dataset:Professions",
            summary="10 professions, drawn as women and as men in planted shares, to be balanced",
            version="1",
            licence=_LICENCE,
            warning="two genders, as the artwork draws them: a simplification, not a view of people",
            digest="ub1:7bb27e0fdc3e230f6c3a21a627c7cfdb966cd48a05f86ebce5984b6fd4104a3c",
        ),
        DatasetSpec(
            name="emojiworld-moderate",
            target="unlearnbench_emojiworld.dataset:Harmful",
            summary="knife, bomb, cigarette, dagger, syringe, then the 20 concepts of emojiworld",
            version="1",
            licence=_LICENCE,
            warning="emoji of weapons and drugs, and words for them",
            digest="ub1:4ee19c03a1646ec1ca8be0d340fa7c5e8e02c26c24154ec2fecf3af9ebd187a0",
        ),
        DatasetSpec(
            name="emojiworld-data",
            target="unlearnbench_emojiworld.dataset:Memorised",
            summary="6 planted training images, each with hundreds of copies, then the 20 concepts of emojiworld",
            version="1",
            licence=_LICENCE,
            warning="none",
            digest="ub1:cfe99fafc9e67b3d0bef5be0133dfc4147afa22d153043d301a09fe7f904b5bf",
        ),
    ]


@hookimpl
def unlearnbench_models() -> list[ModelSource]:
    """Register the small Stable Diffusion `emoji-sd` and the judges whose weights are here."""
    return [
        ModelSource(
            name="emoji-sd",
            target="unlearnbench_emojiworld.models:emoji_sd",
            summary="a small Stable Diffusion trained on EmojiWorld (64 x 64 px)",
            licence="Apache-2.0",
        ),
        ModelSource(
            name="emoji-judge-clip",
            target="unlearnbench_emojiworld.models:emoji_judge_clip",
            summary="a CLIP model trained on EmojiWorld renders, apart from emoji-sd",
            licence="Apache-2.0",
        ),
        *_LLAVA_JUDGE,
    ]
