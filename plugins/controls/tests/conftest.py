"""A small Stable Diffusion with random weights, and a request."""

import pytest

from unlearnbench.api import EditPair, ForgetConcept, Request
from unlearnbench.testing import tiny_model

CAT = ForgetConcept(
    id="cat",
    kind="object",
    name="cat",
    aliases=("kitten", "tom cat"),
    target="dog",
    pairs=(
        EditPair(prompt="a photo of a cat", target="a photo of a dog"),
        EditPair(prompt="two Kittens in the rain", target="two puppies in the rain"),
        EditPair(prompt="a pet that purrs on the sofa", target="a pet that barks on the sofa"),
    ),
)
BEACH = ForgetConcept(id="beach", kind="scene", name="beach", aliases=("sea shore",), target="city")


@pytest.fixture(scope="session")
def model():
    return tiny_model()


@pytest.fixture(scope="session")
def request_():
    return Request(forget=(CAT,), retain=("a photo of a bird", "a red tree"), retain_names=("bird", "tree"))


@pytest.fixture(scope="session")
def both():
    return Request(forget=(CAT, BEACH), retain=("a photo of a bird",), retain_names=("bird",))
