"""EmojiWorld: the embedded data set of unlearnbench, a small Stable Diffusion trained on it, and its judge."""

from unlearnbench.api import DatasetSpec, ModelSource, hookimpl


@hookimpl
def unlearnbench_datasets() -> list[DatasetSpec]:
    """Register the data set `emojiworld`."""
    return [
        DatasetSpec(
            name="emojiworld",
            target="unlearnbench_emojiworld.dataset:EmojiWorld",
            summary="20 concepts of an emoji world: objects, actions, scenes and art styles",
            version="1",
            licence="MIT, Apache-2.0, CC BY 4.0 (artwork; see NOTICE)",
            warning="none",
            digest="ub1:1d5e06c72908fb8249e33138a48c8508a50c3515bed987125ba70725d28a0544",
        )
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
