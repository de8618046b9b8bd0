"""A random LLaVA model, small enough to be made for a test, with its processor."""

import logging
import re
from types import SimpleNamespace

import pytest
import torch

from unlearnbench.model import quiet
from unlearnbench_llava.evaluator import Llava
from unlearnbench_llava.params import LlavaParams

SIZE, PATCH = 16, 8
TEMPLATE = (
    "{% for turn in messages %}{{ turn.role | upper }}: {% for part in turn.content %}"
    "{{ '<image>\n' if part.type == 'image' else part.text }}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def word_tokenizer(words):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]
    written = [*special, *dict.fromkeys(words)]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(written)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip


SENTENCES = (
    "USER: ASSISTANT: Does this image show look like fail to depict one without a red pet dog? "
    "Is there in. Answer with 'yes' or 'no'. Yes No maybe sky"
)
WORDS = re.findall(r"\w+|[^\w\s]", SENTENCES)


def processor_of(tokenizer, size=SIZE, patch=PATCH, template=TEMPLATE):
    from transformers import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    square = {"height": size, "width": size}
    return LlavaProcessor(
        CLIPImageProcessorPil(size=square, crop_size=square), tokenizer, patch_size=patch,
        vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=template,
    )  # fmt: skip


def make_judge(folder, dtype=torch.float32, seed=0, scale=8.0):
    """Save a random LlavaForConditionalGeneration with its processor, as transformers saves one."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    tokenizer = word_tokenizer(WORDS)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = LlamaConfig(
        **small, vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, max_position_embeddings=128,
    )  # fmt: skip
    vision = CLIPVisionConfig(**small, image_size=SIZE, patch_size=PATCH)
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(
            LlavaConfig(vision_config=vision, text_config=text, image_token_index=image_token, image_seq_length=4)
        )
        # Larger weights than a new model's, so that answers differ visibly from image to image.
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.mul_(scale)
        model.to(dtype).save_pretrained(folder)
        processor_of(tokenizer).save_pretrained(folder)
    return folder


def ready(folder, **params):
    judge = Llava(LlavaParams(model=str(folder), **{"off_set_limit": 1.0, **params}))
    judge.setup(SimpleNamespace(device=torch.device("cpu"), log=logging.getLogger("test")))
    return judge


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Return the folder of a random judge; nobody changes it."""
    return make_judge(tmp_path_factory.mktemp("judge"))


@pytest.fixture(name="make_judge", scope="session")
def make_judge_():
    """Return a function that saves a random judge into a folder."""
    return make_judge


@pytest.fixture(name="ready", scope="session")
def ready_():
    """Return a function that sets up the judge of a folder."""
    return ready


@pytest.fixture(scope="session")
def words():
    """Return a tokenizer of the words that a judge is asked with."""
    return word_tokenizer(WORDS)


@pytest.fixture(name="processor_of", scope="session")
def processor_of_():
    """Return a function that makes the processor of a tokenizer."""
    return processor_of
