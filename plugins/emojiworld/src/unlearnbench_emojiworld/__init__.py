"""EmojiWorld: the embedded data set of unlearnbench, a small Stable Diffusion trained on it, and its judge."""

from unlearnbench.api import DatasetSpec, ModelSource, hookimpl


@hookimpl
def unlearnbench_datasets() -> list[DatasetSpec]:
    """Register the data sets `emojiworld` and `emojiworld-dev`."""
    return [
        DatasetSpec(
            name="emojiworld",
            target="unlearnbench_emojiworld.dataset:EmojiWorld",
            summary="20 concepts of an emoji world: objects, actions, scenes and art styles",
            version="1",
            licence="MIT, Apache-2.0, CC BY 4.0 (artwork; see NOTICE)",
            warning="none",
            digest="ub1:1d5e06c72908fb8249e33138a48c8508a50c3515bed987125ba70725d28a0544",
        ),
        DatasetSpec(
            name="emojiworld-dev",
            target="unlearnbench_emojiworld.dataset:Development",
            summary="6 concepts that no board evaluates, to choose settings on, then the 20 of emojiworld",
            version="1",
            licence="MIT, Apache-2.0, CC BY 4.0 (artwork; see NOTICE)",
            warning="none",
            digest="ub1:dfda667e7035a4ead4b2aed741ce70fe41573c52ed83ea9d5e434d1fbb1ad5aa",
        ),
    ]


@hookimpl
def unlearnbench_models() -> list[ModelSource]:
    """Register the small Stable Diffusion `emoji-sd` and the CLIP judge `emoji-judge-clip`."""
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
    ]
