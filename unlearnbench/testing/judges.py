"""A CLIP model with random weights, as a judge or an evaluator of image sets loads one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from unlearnbench.testing.models import tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from unlearnbench.spec import Dtype

SIDE = 16


def tiny_clip(path: Path, *, dtype: Dtype = "float32") -> Path:
    """Save a random `CLIPModel` of 16 x 16 pixels with its processor, as transformers saves one; return the folder.

    Its logit scale is like that of a trained model, so that probabilities differ visibly. Equal on every call; the
    global random state is left alone.
    """
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTextConfig, CLIPVisionConfig
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = tiny_model().tokenizer
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = CLIPTextConfig(**small, **ends, vocab_size=len(tokenizer), max_position_embeddings=24)
    vision = CLIPVisionConfig(**small, image_size=SIDE, patch_size=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16))
        model.logit_scale.data.fill_(3.0)
    size = {"height": SIDE, "width": SIDE}
    model.to(getattr(torch, dtype)).save_pretrained(path)
    CLIPProcessor(CLIPImageProcessorPil(size=size, crop_size=size), tokenizer).save_pretrained(path)
    return path
