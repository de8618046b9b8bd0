"""The LLaVA judge as a module: its parts, several questions about one picture at once, and its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from unlearnbench_emojiworld.train.llava_questions import CHAT_TEMPLATE, IMAGE, NO, USER, YES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from unlearnbench_emojiworld.train.config import LlavaSettings

FEATURE_LAYER = -1  # LLaVA-1.5 takes the last but one, whose successor would be dead weight here


def build(settings: LlavaSettings, tokenizer: Any, size: int) -> LlavaForConditionalGeneration:
    """Return an untrained model. Fused attention is off: its backward pass is slow on processors."""
    vision = CLIPVisionConfig(
        hidden_size=settings.vision_hidden,
        intermediate_size=4 * settings.vision_hidden,
        num_hidden_layers=settings.vision_layers,
        num_attention_heads=settings.vision_heads,
        image_size=size,
        patch_size=settings.patch,
        hidden_act="gelu",
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        # The default suits wide models: from it, so narrow a one takes many more steps to compare words with a picture.
        initializer_range=settings.hidden**-0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=(size // settings.patch) ** 2,
        vision_feature_layer=FEATURE_LAYER,
        tie_word_embeddings=True,
    )
    config._attn_implementation = "eager"
    return LlavaForConditionalGeneration(config)


class Student(nn.Module):
    """The model, with classifiers of subject and style that are thrown away in the end.

    Args:
        llava: the model.
        tokenizer: its tokenizer.
        classes: how many subjects and how many styles there are.
    """

    def __init__(self, llava: LlavaForConditionalGeneration, tokenizer: Any, classes: Sequence[int]) -> None:
        super().__init__()
        self.llava = llava
        width = llava.config.text_config.hidden_size
        self.classifiers = nn.ModuleList([nn.Linear(width, count) for count in classes])
        self.begin = tokenizer.encode(USER + " ")
        self.yes, self.no, self.end = (
            int(tokenizer.convert_tokens_to_ids(word)) for word in (YES, NO, tokenizer.eos_token)
        )

    def features(self, images: Tensor) -> Tensor:
        """Return what the language model sees of pictures [n, 3, h, w] from -1 to 1: [n, patches, width]."""
        return torch.stack(tuple(self.llava.get_image_features(pixel_values=images).pooler_output))

    def classes(self, features: Tensor, column: int) -> Tensor:
        """Return the logits of the subject (column 0) or style (1) of pictures, float32 [n, classes]."""
        found: Tensor = self.classifiers[column](_normal(features.float().mean(1)))
        return found

    def word_classes(self, tails: Tensor, lengths: Tensor, column: int) -> Tensor:
        """Return the same logits for statements, by the mean of their word embeddings.

        tails: token ids [n, length] of questions, whose first token and last two are those of any question. lengths:
        [n].
        """
        place = torch.arange(tails.shape[1])
        stated = ((place > 0) & (place < lengths[:, None] - 2)).float()
        words = self.llava.get_input_embeddings()(tails)
        mean = (words * stated[..., None]).sum(1) / stated.sum(1, keepdim=True)
        found: Tensor = self.classifiers[column](_normal(mean))
        return found

    def states(self, features: Tensor, tails: Tensor) -> Tensor:
        """Return the last hidden states of questions about pictures, [n, questions, length, width].

        All questions about a picture share one sequence. Each sees the picture and itself only, and is placed where it
        would be alone, so the states are those of questions asked one by one.

        Args:
            features: [n, patches, width].
            tails: token ids [n, questions, length], padded at the end, where no other token sees the padding.
        """
        count, questions, length = tails.shape
        embed = self.llava.get_input_embeddings()
        begin = embed(torch.tensor([self.begin])).expand(count, -1, -1)
        asked = embed(tails).flatten(1, 2)
        whole = torch.cat([begin, features.to(begin.dtype), asked.to(begin.dtype)], 1)
        before = whole.shape[1] - questions * length
        positions, mask = layout(before, questions, length)
        seen = self.llava.model.language_model(
            inputs_embeds=whole, attention_mask=mask, position_ids=positions, use_cache=False
        )
        found: Tensor = seen.last_hidden_state[:, before:].unflatten(1, (questions, length))
        return found

    def next_logits(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of what follows the first `lengths` tokens of each question, [n, questions, vocabulary]."""
        index = (lengths - 1)[:, :, None, None].expand(-1, -1, 1, states.shape[-1])
        found: Tensor = self.llava.lm_head(states.gather(2, index).squeeze(2))
        return found

    @torch.no_grad()
    def p_yes(self, features: Tensor, tails: Tensor, lengths: Tensor) -> Tensor:
        """Return the probability of yes given yes or no, float32 [n, questions]."""
        logits = self.next_logits(self.states(features, tails), lengths).float()
        return (logits[..., self.yes] - logits[..., self.no]).sigmoid()


def _normal(mean: Tensor) -> Tensor:
    """Scale vectors to the root mean square of one, as the language model does before its first layer."""
    return F.rms_norm(mean, mean.shape[-1:])


def layout(before: int, questions: int, length: int) -> tuple[Tensor, Tensor]:
    """Return positions [1, n] and additive attention mask [1, 1, n, n] of `questions` questions after one picture.

    before: tokens of the picture and of what stands before it. length: tokens of a question, padding included.
    """
    positions = torch.cat([torch.arange(before), before + torch.arange(length).repeat(questions)])
    owner = torch.cat([torch.zeros(before), 1 + torch.arange(questions).repeat_interleave(length)])
    place = torch.arange(len(owner))
    seen = (place[:, None] >= place[None, :]) & ((owner[None, :] == 0) | (owner[:, None] == owner[None, :]))
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    return positions[None], mask[None, None]


def write(llava: LlavaForConditionalGeneration, tokenizer: Any, folder: Path) -> None:
    """Write the model in float16 with its processor; pictures are scaled to its size and to -1 to 1."""
    vision = llava.config.vision_config
    square = {"height": vision.image_size, "width": vision.image_size}
    pictures = CLIPImageProcessorPil(
        size=square, crop_size=square, do_center_crop=False, image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5]
    )
    processor = LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy=llava.config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    llava.to(torch.float16).save_pretrained(folder)
    processor.save_pretrained(folder)
