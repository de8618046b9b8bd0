"""Controls that change no weight."""

import torch

from unlearnbench.api import Sampling
from unlearnbench.sampling import rewrite
from unlearnbench.testing import edit_context
from unlearnbench_controls.inference import KeywordFilter, NegativePrompt
from unlearnbench_controls.params import NamesParams


def asked(control, model, request, **params):
    before = {name: tensor.clone() for name, tensor in model.tensors().items()}
    sampling = control(NamesParams(**params)).edit(model, request, edit_context())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.tensors().items())
    return sampling


def test_the_filter_replaces_names_and_aliases_and_nothing_else(model, both):
    words = asked(KeywordFilter, model, both).rewrite
    assert words == {"cat": "dog", "kitten": "dog", "tom cat": "dog", "beach": "city", "sea shore": "city"}
    assert (
        rewrite("A Cat and a KITTEN at the sea shore, concatenated", words)
        == "A dog and a dog at the city, concatenated"
    )
    assert rewrite("the old tom cat", words) == "the old dog"
    assert rewrite("a pet that purrs on the sofa", words) == "a pet that purrs on the sofa"


def test_the_filter_can_leave_aliases_alone(model, both):
    assert asked(KeywordFilter, model, both, aliases=False).rewrite == {"cat": "dog", "beach": "city"}


def test_the_negative_prompt_names_every_concept(model, both):
    names = "cat, kitten, tom cat, beach, sea shore"
    assert asked(NegativePrompt, model, both) == Sampling(negative_prompt=names)
    assert asked(NegativePrompt, model, both, aliases=False) == Sampling(negative_prompt="cat, beach")
