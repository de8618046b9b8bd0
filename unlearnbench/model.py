"""The model under edit: a Stable Diffusion pipeline whose weights can be changed, compared and put back."""

from __future__ import annotations

import warnings
from collections import Counter
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from unlearnbench.api import ModelInfo, TextEmbedding
from unlearnbench.edits import Structure, cpu_copy, same_bits
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.modelfiles import local_folder, model_info, pipeline_files, read_json, variant_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from unlearnbench.spec import Dtype, ModelSpec

_BATCH = 64  # prompts per call of the text encoder


class Model:
    """A frozen Stable Diffusion 1.x or 2.x pipeline.

    Attributes:
        info: what is known of the model without its weights.
        unet: the denoising UNet (diffusers `UNet2DConditionModel`).
        text_encoder: the text encoder (transformers `CLIPTextModel`, either of its two module layouts).
        tokenizer: the tokenizer of the text encoder.
        vae: the autoencoder between images and latents.
        scheduler: the scheduler that the pipeline came with; samplers are built from its configuration.
        device: where the weights are.
        dtype: what the weights are kept in.
    """

    def __init__(
        self, info: ModelInfo, *, unet: Any, text_encoder: Any, tokenizer: Any, vae: Any, scheduler: Any
    ) -> None:
        self.info = info
        self._parts = (unet, text_encoder, vae, tokenizer, scheduler)
        self.unet, self.text_encoder, self.vae, self.tokenizer, self.scheduler = self._parts
        self.device: torch.device = unet.device
        self.dtype: torch.dtype = unet.dtype
        for part in (unet, text_encoder, vae):
            part.requires_grad_(False).eval()
        self._copies: dict[str, torch.Tensor] = {}  # pristine values on the CPU, of all tensors or of the applied ones
        self._structure: list[Structure] = []  # of every module; filled together with a complete set of copies
        self._changed = False

    @cached_property
    def pipe(self) -> Any:
        """Return a `StableDiffusionPipeline` around the same modules, without a safety checker."""
        with quiet():
            from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

            return StableDiffusionPipeline(
                vae=self.vae,
                text_encoder=self.text_encoder,
                tokenizer=self.tokenizer,
                unet=self.unet,
                scheduler=self.scheduler,
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )

    @property
    def compression(self) -> int:
        """Return how many pixels wide a latent is."""
        halvings: int = len(self.vae.config.block_out_channels) - 1
        return 1 << halvings

    @property
    def image_size(self) -> int:
        """Return height and width in pixels of the images that the model was trained on."""
        return self.info.latent_size * self.compression

    def save(self, folder: Path) -> None:
        """Save the model as it is now, edits included, as a `StableDiffusionPipeline` folder of safetensors."""
        with quiet():
            self.pipe.save_pretrained(folder)

    # ------------------------------------------------------------ text
    def tokenize(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokenize prompts, padded and cut to the text encoder's positions.

        Returns:
            ids [n, positions]; attention mask [n, positions], 1 from BOS to the first EOS; index [n] of the last
            subject token, which is 0 (BOS) for an empty prompt. The index comes from the mask because SD 1.x pads
            with EOS and SD 2.x with '!'. All on the model's device.
        """
        encoded = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.info.text_positions,
            truncation=True,
            return_tensors="pt",
        )
        mask = encoded["attention_mask"].to(self.device)
        return encoded["input_ids"].to(self.device), mask, (mask.sum(dim=1) - 2).clamp(min=0)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Encode prompts with the current text encoder, as the pipeline conditions its UNet.

        Args:
            prompts: at least one prompt.

        Returns:
            states [n, positions, width] after the final layer norm, in the model's dtype and without gradient.
        """
        ids, _, last = self.tokenize(prompts)
        # The pipeline passes no mask: the padded positions are part of what Stable Diffusion was trained on.
        parts = (ids[i : i + _BATCH] for i in range(0, len(ids), _BATCH))
        states = [self.text_encoder(part).last_hidden_state for part in parts]
        return TextEmbedding(states=torch.cat(states), ids=ids, last=last)

    def text_layers(self) -> list[torch.nn.Module]:
        """Return the layers of the text encoder, first to last."""
        root = getattr(self.text_encoder, "text_model", self.text_encoder)
        return list(root.encoder.layers)

    # ------------------------------------------------------------ UNet
    def cross_attention(self) -> dict[str, torch.nn.Module]:
        """Return the cross-attention modules of the UNet (`attn2`) by name, sorted by name."""
        found = {name: module for name, module in self.unet.named_modules() if name.endswith(".attn2")}
        return dict(sorted(found.items()))

    # ------------------------------------------------------------ edits
    @contextmanager
    def edited(self) -> Iterator[Model]:
        """Lend the model for one edit that starts from the pristine base, and restore it afterwards.

        What was applied before is dropped on entry. `diff` is meant to be called inside the block. The base is
        restored bit for bit when the block ends, also by an exception.
        """
        self.restore()
        self.snapshot()
        self._changed = True
        try:
            yield self
        finally:
            self.restore()

    def snapshot(self) -> None:
        """Keep a CPU copy of every tensor of UNet and text encoder; a second call costs nothing.

        Raises:
            RuntimeError: an edit is applied, so that what a copy would hold is not the base.
        """
        if self._structure:
            return
        if self._changed:
            raise RuntimeError("snapshot() of an edited model: call restore() first")
        for name, tensor in self.tensors().items():
            self._copies[name] = cpu_copy(tensor)
        self._structure = [Structure(m) for part in (self.unet, self.text_encoder) for m in part.modules()]

    def restore(self) -> None:
        """Put the pristine base back: values, modules, hooks, attention processors, frozen and in eval mode."""
        if not self._changed:
            return
        self.unet, self.text_encoder, self.vae, self.tokenizer, self.scheduler = self._parts
        for structure in self._structure:
            structure.restore()
        with torch.no_grad():
            live = self.tensors()
            owners = Counter(tensor.data_ptr() for tensor in live.values())
            for name, copy in self._copies.items():
                tensor = live[name]
                tied = owners[tensor.data_ptr()] > 1  # writing to it would write to another tensor too
                if tied or tensor.device != self.device or tensor.shape != copy.shape or tensor.dtype != copy.dtype:
                    tensor.data = copy.to(self.device, copy=True)
                elif not same_bits(tensor, copy):
                    tensor.copy_(copy)
        for part in (self.unet, self.text_encoder):
            part.requires_grad_(False)
            part.eval()
            part.zero_grad(set_to_none=True)
        self._changed = False

    def diff(self) -> dict[str, torch.Tensor]:
        """Return the tensors that differ from the pristine base in at least one bit, as CPU copies sorted by name.

        Keys are 'unet.<name>' and 'text_encoder.text_model.<name>', whichever layout the installed transformers uses.

        Raises:
            RuntimeError: no pristine copy exists (edit inside `edited`), or a method left other tensors, shapes or
                dtypes than it found (adapters must be merged before the edit ends).
        """
        if not self._structure:
            raise RuntimeError("diff() without a pristine copy: edit inside `with model.edited():`")
        tensors = self.tensors()
        if odd := sorted(set(tensors) ^ set(self._copies)):
            raise RuntimeError(f"the edit added or removed tensors: {', '.join(odd[:3])} ({len(odd)} in all)")
        for name, tensor in sorted(tensors.items()):
            copy = self._copies[name]
            if tensor.shape != copy.shape or tensor.dtype != copy.dtype:
                raise RuntimeError(f"the edit changed shape or dtype of {name}: {tuple(tensor.shape)}, {tensor.dtype}")
        return {name: cpu_copy(t) for name, t in sorted(tensors.items()) if not same_bits(t, self._copies[name])}

    def apply(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Set tensors to the values of an edit; `restore` takes them back.

        Args:
            tensors: keys as `diff` writes them; cast to the model's dtype.

        Raises:
            UserError: no tensor at all, an unknown name, or a shape that does not fit; nothing is changed then.
        """
        own = self.tensors()
        if not tensors:
            raise UserError("the edit holds no tensor", "check that it is an unlearnbench edit file; make it again")
        for name, value in tensors.items():
            if name not in own:
                raise UserError(f"the model has no tensor {name}", f"use the model that the edit was made for: {name}")
            if value.shape != own[name].shape:
                raise UserError(
                    f"{name} has shape {tuple(value.shape)} in the edit and {tuple(own[name].shape)} in the model",
                    "use the model that the edit was made for",
                )
        self._changed = True
        with torch.no_grad():
            for name, value in tensors.items():
                if name not in self._copies:
                    self._copies[name] = cpu_copy(own[name])
                own[name].copy_(value)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every tensor that an edit may change, under its canonical name; the tensors are the live ones."""
        live = {f"unet.{name}": tensor for name, tensor in self.unet.state_dict(keep_vars=True).items()}
        for name, tensor in self.text_encoder.state_dict(keep_vars=True).items():
            live[f"text_encoder.text_model.{name.removeprefix('text_model.')}"] = tensor
        return live


def load_model(spec: ModelSpec, folder: Path | str, device: str = "cpu", dtype: Dtype = "float32") -> Model:
    """Load a Stable Diffusion 1.x or 2.x pipeline, frozen and without its safety checker.

    Args:
        spec: the model as the user names it.
        folder: what `modelfiles.resolve_folder` returned; a hub id that is not cached is downloaded.
        device: 'cpu', 'cuda' or 'cuda:<number>'.
        dtype: dtype of the weights, whatever the files hold.

    Raises:
        PrerequisiteError: the model or the device is not there.
        UserError: the folder holds no such pipeline.
    """
    place = _device(device)
    path = local_folder(folder, spec.revision)
    info = model_info(spec, path)
    names = [name for name, _ in pipeline_files(path)]
    with quiet():
        import diffusers
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        def part(kind: Any, name: str, **options: Any) -> Any:
            variant = variant_of([file for file in names if file.startswith(f"{name}/")])
            return kind.from_pretrained(path / name, variant=variant, use_safetensors=True, **options).to(place)

        weights: torch.dtype = getattr(torch, dtype)
        schedulers = read_json(path / "scheduler" / "scheduler_config.json", "download the model again")
        scheduler = getattr(diffusers, schedulers.get("_class_name", "DDIMScheduler"), diffusers.DDIMScheduler)
        return Model(
            info,
            unet=part(UNet2DConditionModel, "unet", torch_dtype=weights),
            text_encoder=part(CLIPTextModel, "text_encoder", dtype=weights),
            tokenizer=CLIPTokenizer.from_pretrained(path / "tokenizer"),
            vae=part(AutoencoderKL, "vae", torch_dtype=weights),
            scheduler=scheduler.from_pretrained(path / "scheduler"),
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and warnings of diffusers and transformers, and put both back as they were."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(library, library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    try:
        for library in libraries:
            library.set_verbosity_error()
            library.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for library, verbosity, bars in before:
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"there is no device {name!r}", "use cpu, cuda or cuda:0") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise PrerequisiteError(f"this machine has no device {name}", "use --device cpu, or install torch for CUDA")
    return device
