"""What several tests of the world and of training use, and what tests of training leave behind."""

from __future__ import annotations

import pytest
import torch

from unlearnbench_emojiworld.train import llava
from unlearnbench_emojiworld.train.config import LlavaSettings
from unlearnbench_emojiworld.world import World


@pytest.fixture(autouse=True)
def _subnormal_numbers_are_kept():
    """Training flushes subnormal numbers in the thread it runs in, here the one of all other tests."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def world() -> World:
    return World.load()


@pytest.fixture(scope="session")
def tiny_llava():
    """Settings of a LLaVA judge that trains in a second."""
    return {
        "steps": 4, "batch": 6, "learning_rate": 1e-3, "warmup": 2, "entries": 400, "hidden": 16, "intermediate": 32,
        "layers": 2, "heads": 2, "vision_hidden": 16, "vision_layers": 2, "vision_heads": 2, "patch": 8,
        "questions": 4, "classification_share": 0.5, "classification_weight": 0.5,
    }  # fmt: skip


@pytest.fixture(scope="session")
def prepared_llava(tiny_llava):
    """An untrained LLaVA judge of pictures of 16 px whose answers depend on what it is shown, and its questions."""
    torch.manual_seed(0)
    student, tokenizer, questions = llava.prepare(LlavaSettings(**tiny_llava), World.load(), 16)
    for parameter in student.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(5.0)
    return student.eval().requires_grad_(False), tokenizer, questions


@pytest.fixture(scope="session")
def student(prepared_llava):
    return prepared_llava[0]
