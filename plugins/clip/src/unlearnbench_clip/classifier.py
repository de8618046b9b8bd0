"""A CLIP model as a zero-shot classifier."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unlearnbench.model import quiet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image


class Classifier:
    """A `CLIPModel` in float32 with its image processor and tokenizer.

    Args:
        folder: what transformers saves: model, image processor and tokenizer.
        device: where to run.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        with quiet():
            from transformers import CLIPModel, CLIPTokenizer
            from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

            # The PIL processor: the other one needs torchvision, and the two resize differently.
            self._processor: Any = CLIPImageProcessorPil.from_pretrained(folder)
            self._tokenizer: Any = CLIPTokenizer.from_pretrained(folder)
            model: Any = CLIPModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        self._model = model.to(device).eval().requires_grad_(False)
        self._device = device
        self._texts: dict[tuple[str, ...], torch.Tensor] = {}

    @torch.inference_mode()
    def probabilities(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[list[float] | None]:
        """Return for every image the softmax over `texts` of exp(logit_scale) * cos(image, text).

        Returns:
            One row of len(texts) probabilities an image; None for an image that cannot be read, or of which the
            model makes no number.
        """
        rows: list[list[float] | None] = [None] * len(images)
        readable, features = self.embed_images(images)
        if not readable:
            return rows
        logits = self._model.logit_scale.exp() * features @ self.embed_texts(tuple(texts)).T
        for i, row in zip(readable, logits.double().softmax(dim=1).tolist(), strict=True):
            rows[i] = row if all(map(math.isfinite, row)) else None
        return rows

    @torch.inference_mode()
    def embed_images(self, images: Sequence[Image.Image]) -> tuple[list[int], torch.Tensor]:
        """Return which images can be read, and their projected features, [n, width], each of length 1."""
        pixels = {i: values for i, image in enumerate(images) if (values := self._pixels(image)) is not None}
        if not pixels:
            return [], torch.empty(0, self._model.config.projection_dim, device=self._device)
        batch = torch.from_numpy(np.stack(list(pixels.values()))).to(self._device)
        return list(pixels), _unit(self._model.get_image_features(pixel_values=batch).pooler_output)

    def _pixels(self, image: Image.Image) -> np.ndarray[Any, np.dtype[np.float32]] | None:
        """Return the processed pixels [3, h, w], or None if the image file is damaged."""
        try:
            loaded = image.convert("RGB")
        except (OSError, SyntaxError, ValueError):  # what Pillow raises for truncated and damaged files
            return None
        pixels: np.ndarray[Any, np.dtype[np.float32]] = self._processor(loaded, return_tensors="np")["pixel_values"][0]
        return pixels.astype(np.float32)

    @torch.inference_mode()
    def embed_texts(self, texts: tuple[str, ...]) -> torch.Tensor:
        """Return the projected features of texts, [n, width], each of length 1; encoded once for each list."""
        if texts not in self._texts:
            tokens = self._tokenizer(
                list(texts),
                padding=True,
                truncation=True,
                max_length=self._model.config.text_config.max_position_embeddings,
                return_tensors="pt",
            ).to(self._device)
            found = self._model.get_text_features(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
            self._texts[texts] = _unit(found.pooler_output)
        return self._texts[texts]


def _unit(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(features, dim=-1)
