"""A LLaVA model that answers questions about images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from unlearnbench.errors import UserError
from unlearnbench.model import quiet
from unlearnbench.modelfiles import variant_of, weight_files
from unlearnbench_llava.tokens import answer_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from unlearnbench.spec import Dtype

# The conversation that LLaVA-1.5 was trained on; for checkpoints without a chat template.
CONVERSATION = "USER: {image}\n{question} ASSISTANT:"


@dataclass(frozen=True)
class Reading:
    """What the model says at the first position of its answer.

    p_yes: probability of yes given yes or no. off_set: probability of anything else.
    """

    p_yes: float
    off_set: float


class Answerer:
    """A `LlavaForConditionalGeneration` with its processor, padded on the left.

    Args:
        folder: what transformers saves: model, image processor and tokenizer.
        device: where to run.
        dtype: what weights and arithmetic are.

    Raises:
        UserError: weights are missing.
    """

    def __init__(self, folder: Path, device: torch.device, dtype: Dtype) -> None:
        with quiet():
            from transformers import AutoProcessor, LlavaForConditionalGeneration

            # The PIL image processor: the other one needs torchvision, and the two resize differently.
            self._processor: Any = AutoProcessor.from_pretrained(folder, backend="pil")
            model, report = LlavaForConditionalGeneration.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                variant=variant_of(weight_files(folder, "model")),
                output_loading_info=True,
            )
        if report["missing_keys"] or report["mismatched_keys"]:
            raise UserError(
                f"{folder} lacks weights of LlavaForConditionalGeneration, {sorted(report['missing_keys'])[:1]} first",
                "name a checkpoint of LLaVA-1.5, such as llava-hf/llava-1.5-7b-hf",
            )
        self._model: Any = model.to(device).eval().requires_grad_(False)
        self._device, self._dtype = device, getattr(torch, dtype)
        self._complete_processor()

    @cached_property
    def words(self) -> tuple[list[int], list[int]]:
        """Return the token ids that say yes and those that say no. Raises UserError as `answer_tokens`."""
        return answer_tokens(self._processor.tokenizer)

    @torch.inference_mode()
    def readings(self, images: Sequence[Image.Image], questions: Sequence[str]) -> list[Reading | None]:
        """Return the probabilities of yes and no as the first word of the answer to questions[i] about images[i].

        p_yes = sum_{t in Y} exp(z_t) / sum_{t in Y, N} exp(z_t), z the logits of the next token. None for an image
        that cannot be read, or of which the model makes no number.
        """
        found: list[Reading | None] = [None] * len(images)
        kept, inputs = self._inputs(images, questions)
        if not kept:
            return found
        # Positions count from each row's first token, so that padding changes no answer.
        positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        logits = self._model(**inputs, position_ids=positions, logits_to_keep=1, use_cache=False).logits[:, -1]
        shares = logits.float().cpu().double().softmax(1)
        yes, no = (shares[:, ids].sum(1) for ids in self.words)
        for i, y, n in zip(kept, yes.tolist(), no.tolist(), strict=True):
            if math.isfinite(y + n) and y + n > 0:
                found[i] = Reading(p_yes=y / (y + n), off_set=max(0.0, 1.0 - (y + n)))
        return found

    @torch.inference_mode()
    def replies(self, images: Sequence[Image.Image], questions: Sequence[str], tokens: int) -> list[str | None]:
        """Return the greedy answer to questions[i] about images[i], `tokens` tokens at most; None as in `readings`."""
        found: list[str | None] = [None] * len(images)
        kept, inputs = self._inputs(images, questions)
        if not kept:
            return found
        with quiet():  # a checkpoint's own sampling settings are announced when they are overruled
            written = self._model.generate(
                **inputs,
                max_new_tokens=tokens,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self._processor.tokenizer.pad_token_id,
            )
        answers = self._processor.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for i, answer in zip(kept, answers, strict=True):
            found[i] = answer.strip()
        return found

    def _inputs(self, images: Sequence[Image.Image], questions: Sequence[str]) -> tuple[list[int], dict[str, Any]]:
        """Return which images can be read, and the model's inputs for them."""
        loaded = {i: picture for i, image in enumerate(images) if (picture := _load(image)) is not None}
        if not loaded:
            return [], {}
        prompts = [self._prompt(questions[i]) for i in loaded]
        inputs = self._processor(text=prompts, images=list(loaded.values()), padding=True, return_tensors="pt")
        return list(loaded), {
            "input_ids": inputs["input_ids"].to(self._device),
            "attention_mask": inputs["attention_mask"].to(self._device),
            "pixel_values": inputs["pixel_values"].to(self._device, self._dtype),
        }

    def _prompt(self, question: str) -> str:
        if self._processor.chat_template is None:
            return CONVERSATION.format(image=self._processor.image_token, question=question)
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        prompt: str = self._processor.apply_chat_template([turn], add_generation_prompt=True)
        return prompt

    def _complete_processor(self) -> None:
        """Add what processors of older checkpoints lack: the patch size, a padding token."""
        processor, config = self._processor, self._model.config
        if processor.patch_size is None:
            processor.patch_size = config.vision_config.patch_size
            processor.vision_feature_select_strategy = config.vision_feature_select_strategy
            processor.num_additional_image_tokens = 1  # the class token of CLIP
        tokenizer = processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token


def _load(image: Image.Image) -> Image.Image | None:
    """Return a copy in RGB, or None if the image file is damaged."""
    try:
        return image.convert("RGB")
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for truncated and damaged files
        return None
