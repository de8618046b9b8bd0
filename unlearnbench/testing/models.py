"""Small random models for tests: the module structure of Stable Diffusion 1.x without anything to download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from unlearnbench.api import ModelInfo
from unlearnbench.identity import digest
from unlearnbench.model import Model

if TYPE_CHECKING:
    from pathlib import Path

    from unlearnbench.spec import Dtype

_BOS, _EOS = "<|startoftext|>", "<|endoftext|>"
_WORDS = (
    "a", "an", "the", "of", "in", "on", "and", "with", "photo", "picture", "painting", "image", "style", "cat", "dog",
    "bird", "apple", "pear", "red", "green", "blue", "tree", "house", "sky", "sun", "rain", "city", "beach", "running",
    "walking", "sleeping", "dancing",
)  # fmt: skip
_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def tiny_model(seed: int = 0, *, version: Literal[1, 2] = 1, width: int = 32, positions: int = 40) -> Model:
    """Make a random Stable Diffusion of 16 x 16 pixels in well under a second.

    The MLP of the text encoder is twice as wide as the text; the UNet has cross-attention down, in the middle and up.
    Version 1 has 3 text layers, pads with EOS and predicts noise. Version 2 has 2 text layers, pads with '!' (id 0),
    predicts velocity, and has linear projections and a head count for each block. The global random state is left
    as it was.

    Args:
        seed: seed of the random weights.
        version: whose particulars, those of Stable Diffusion 1.x or 2.x.
        width: width of the text embedding, an even number.
        positions: token positions of a prompt, BOS and EOS included.
    """
    particulars: dict[str, Any] = (
        {"attention_head_dim": 2} if version == 1 else {"attention_head_dim": (2, 4), "use_linear_projection": True}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = _text_encoder(
            layers=4 - version,
            width=width,
            mlp=2 * width,
            heads=2,
            positions=positions,
            act="quick_gelu" if version == 1 else "gelu",
        )
        unet = _unet(
            sample_size=8,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=width,
            norm_num_groups=8,
            **particulars,
        )
        vae = _vae(channels=(8, 16), latent=8)
    name = f"tiny-{seed}" if version == 1 else f"tiny-v2-{seed}"
    fingerprint = digest({"tiny_model": seed, "version": version, "width": width, "positions": positions})
    tokenizer = _tokenizer(positions, pad=_EOS if version == 1 else "!")
    return _model(name, fingerprint, unet, text_encoder, tokenizer, vae, "epsilon" if version == 1 else "v_prediction")


def tiny_folder(path: Path, seed: int = 0, *, version: Literal[1, 2] = 1) -> Path:
    """Save `tiny_model(seed, version=version)` as a `StableDiffusionPipeline` folder and return the folder."""
    tiny_model(seed, version=version).save(path)
    return path


def sd14_shaped(*, device: str = "cpu", dtype: Dtype = "float32", seed: int = 0) -> Model:
    """Make UNet and text encoder with the shapes of Stable Diffusion 1.4 and random weights (4 GB in float32).

    The vocabulary stays the small one of `tiny_model`, and the autoencoder is narrow (it is never edited).

    Args:
        device: 'cpu', 'cuda', or 'meta' for the shapes alone.
        dtype: dtype of the weights.
        seed: seed of the random weights.
    """
    with torch.device("meta"):
        text_encoder = _text_encoder(layers=12, width=768, mlp=3072, heads=12, positions=77, vocabulary=49408)
        unet = _unet(
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            cross_attention_dim=768,
            attention_head_dim=8,
        )
        vae = _vae(channels=(8, 8, 8, 16), latent=64)
    generator = torch.Generator(device if device != "meta" else "cpu").manual_seed(seed)
    for part in (text_encoder, unet, vae):
        torch.nn.Module.to(part, getattr(torch, dtype))  # diffusers' own `to` warns about casts
        if device != "meta":
            part.to_empty(device=device)
            _fill(part, generator)
    return _model("sd14-shaped", digest({"sd14_shaped": seed}), unet, text_encoder, _tokenizer(77), vae)


def _fill(part: torch.nn.Module, generator: torch.Generator) -> None:
    """Give weights a variance that keeps activations near one, layer norms their identity, and buffers a count."""
    with torch.no_grad():
        for tensor in part.parameters():
            if tensor.ndim > 1:
                tensor.normal_(0.0, tensor[0].numel() ** -0.5, generator=generator)
            else:
                tensor.zero_()
        for module in part.modules():
            if isinstance(module, torch.nn.LayerNorm | torch.nn.GroupNorm) and module.weight is not None:
                module.weight.fill_(1.0)
        for name, buffer in part.named_buffers():
            if name.endswith("position_ids"):
                buffer.copy_(torch.arange(buffer.shape[-1]).expand_as(buffer))


def _model(
    name: str,
    fingerprint: str,
    unet: Any,
    text_encoder: Any,
    tokenizer: Any,
    vae: Any,
    prediction: Literal["epsilon", "v_prediction"] = "epsilon",
) -> Model:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    info = ModelInfo(
        id=name,
        fingerprint=fingerprint,
        family="sd",
        prediction=prediction,
        text_width=text_encoder.config.hidden_size,
        text_layers=text_encoder.config.num_hidden_layers,
        text_positions=text_encoder.config.max_position_embeddings,
        latent_size=unet.config.sample_size,
        parameters=sum(p.numel() for part in (unet, text_encoder) for p in part.parameters()),
    )
    scheduler = DDIMScheduler(**_SCHEDULE, prediction_type=prediction)
    return Model(info, unet=unet, text_encoder=text_encoder, tokenizer=tokenizer, vae=vae, scheduler=scheduler)


def _text_encoder(
    *, layers: int, width: int, mlp: int, heads: int, positions: int, act: str = "quick_gelu", vocabulary: int = 0
) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    bos, eos = (_vocabulary()[0][token] for token in (_BOS, _EOS))
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary or len(_vocabulary()[0]),
            hidden_size=width,
            intermediate_size=mlp,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=positions,
            hidden_act=act,
            bos_token_id=bos,
            eos_token_id=eos,
            pad_token_id=eos,
        )
    )


def _unet(**config: Any) -> Any:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel(in_channels=4, out_channels=4, **config)


def _vae(*, channels: tuple[int, ...], latent: int) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=latent * 2 ** (len(channels) - 1),
    )


def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Make a byte-level vocabulary with a few whole words; every other word is spelt letter by letter."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    merges: dict[tuple[str, str], None] = {}
    for word in _WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            merges[pieces[0], pieces[1]] = None
            pieces[:2] = ["".join(pieces[:2])]
    joined = dict.fromkeys("".join(pair) for pair in merges)
    tokens = [*letters, *(letter + "</w>" for letter in letters), *joined, _BOS, _EOS]
    return {token: i for i, token in enumerate(tokens)}, list(merges)


def _tokenizer(positions: int, pad: str = _EOS) -> Any:
    from transformers import CLIPTokenizer

    vocabulary, merges = _vocabulary()
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=positions, pad_token=pad)
