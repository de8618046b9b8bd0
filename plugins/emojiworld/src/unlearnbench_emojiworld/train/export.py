"""Assemble the trained parts into the folders that are shipped.

`python -m unlearnbench_emojiworld.train.export --out DIR [--from WEIGHTS] [--to WEIGHTS]`; an unfinished noise
predictor is exported from its checkpoint, and judges that were not trained are those of the weights that training
started from. The default folder is `<out>/weights`: what is shipped is replaced on purpose only.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from transformers import CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTextModel

from unlearnbench_emojiworld.train.config import DEFAULT, TrainConfig
from unlearnbench_emojiworld.train.contrastive import build as build_pair
from unlearnbench_emojiworld.train.contrastive import read_tokenizer
from unlearnbench_emojiworld.train.fit import CHECKPOINT
from unlearnbench_emojiworld.train.refine import FOLDER as REFINED
from unlearnbench_emojiworld.train.schedule import SCHEDULE
from unlearnbench_emojiworld.train.unet import build as build_unet
from unlearnbench_emojiworld.train.warm import GENERATOR, JUDGE, RECORD

SECOND_JUDGE = "judge-llava"


def averaged_unet(out: Path, config: TrainConfig, text_width: int, latent_size: int) -> UNet2DConditionModel:
    """Return the averaged noise predictor of the last checkpoint."""
    unet = build_unet(config.unet, text_width, latent_size)
    unet.load_state_dict(torch.load(out / "unet" / CHECKPOINT, weights_only=True)["averaged"])
    unet.set_attn_processor(AttnProcessor2_0())
    return unet.eval()


def pipeline(out: Path, config: TrainConfig) -> StableDiffusionPipeline:
    """Return the whole generator of a training folder in float32."""
    encoder = CLIPTextModel.from_pretrained(out / "text" / "model")
    better = out / "decoder" / "model"
    vae = AutoencoderKL.from_pretrained(better if better.exists() else out / "vae" / "model")
    latent_size = config.data.size // 2 ** (len(vae.config.block_out_channels) - 1)
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=read_tokenizer(out),
        unet=averaged_unet(out, config, encoder.config.hidden_size, latent_size),
        scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def write_generator(out: Path, config: TrainConfig, folder: Path) -> None:
    """Write the generator as a float16 StableDiffusionPipeline folder."""
    replace(folder)
    pipeline(out, config).to(torch.float16).save_pretrained(folder)
    for path in folder.rglob("*.json"):
        forget_origin(path)
    # The files that CLIPTokenizer of any version reads, beside the one that the installed version writes.
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(out / "tokenizer" / name, folder / "tokenizer" / name)


def judge_processor(out: Path, size: int) -> CLIPProcessor:
    """Return the judge's processor: pictures are scaled to `size` and to -1 to 1."""
    square = {"height": size, "width": size}
    pictures = CLIPImageProcessor(
        size=square,
        crop_size=square,
        do_center_crop=False,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return CLIPProcessor(pictures, read_tokenizer(out))


def write_judge(out: Path, config: TrainConfig, folder: Path) -> None:
    """Write the judge as a float16 CLIPModel folder with its processor."""
    replace(folder)
    tokenizer = read_tokenizer(out)
    judge: CLIPModel = build_pair(config.judge, tokenizer, config.tokenizer.positions, config.data.size)
    refined = out / REFINED / CHECKPOINT
    state = torch.load(refined if refined.exists() else out / "judge" / CHECKPOINT, weights_only=True)
    judge.load_state_dict(state["module"])
    judge.eval().to(torch.float16).save_pretrained(folder)
    judge_processor(out, config.data.size).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(out / "tokenizer" / name, folder / name)


def forget_origin(path: Path) -> None:
    """Take out of a model's settings which folder it was read from: it says nothing to others."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    if settings.pop("_name_or_path", None) is not None:
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def replace(folder: Path) -> None:
    """Remove a folder that is about to be written anew."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def main() -> None:
    """Export what is trained so far."""
    parser = argparse.ArgumentParser(description="assemble the shipped folders")
    parser.add_argument("--out", type=Path, required=True, help="folder of the training")
    parser.add_argument("--config", type=Path, default=DEFAULT, help="settings file")
    parser.add_argument("--from", dest="start", type=Path, help="folder of weights that training started from")
    parser.add_argument("--to", type=Path, help="folder to write")
    given = parser.parse_args()
    config = TrainConfig.load(given.config)
    to = given.out / "weights" if given.to is None else given.to
    if (given.out / "unet" / CHECKPOINT).exists():
        write_generator(given.out, config, to / GENERATOR)
    if (given.out / "judge" / CHECKPOINT).exists():
        write_judge(given.out, config, to / JUDGE)
    if (given.out / "llava" / "model").exists():
        replace(to / SECOND_JUDGE)
        shutil.copytree(given.out / "llava" / "model", to / SECOND_JUDGE, dirs_exist_ok=True)
    for judge in (JUDGE, SECOND_JUDGE):
        if given.start is not None and not (to / judge).exists() and (given.start / judge).exists():
            shutil.copytree(given.start / judge, to / judge)
    to.mkdir(parents=True, exist_ok=True)
    record = {"without": list(config.without), "seed": config.seed, "renders": config.data.renders}
    (to / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
