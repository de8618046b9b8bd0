"""Where the weights of this distribution are."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


def emoji_sd() -> Path:
    """Return the folder of the small Stable Diffusion, a `StableDiffusionPipeline` as diffusers saves it."""
    return WEIGHTS / "emoji-sd"


def emoji_judge_clip() -> Path:
    """Return the folder of the CLIP judge, a `CLIPModel` with its processor as transformers saves it."""
    return WEIGHTS / "judge-clip"


def emoji_judge_llava() -> Path:
    """Return the folder of the LLaVA judge, a `LlavaForConditionalGeneration` with its processor; it may not exist."""
    return WEIGHTS / "judge-llava"
