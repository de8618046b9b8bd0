"""Whether the method `alphaedit` keeps its promises to the harness, in the text encoder and in the UNet."""

from unlearnbench.testing import parametrize_with_checks

FAST = {"edits": 1, "batch": 2, "inner_steps": 2, "latent_steps": 2, "min_dim": 16, "lamb": 0.05}


@parametrize_with_checks("alphaedit", params=FAST)
def test_conformance(check):
    check()


@parametrize_with_checks("alphaedit", params=FAST | {"matrices": "ffn"})
def test_conformance_in_the_unet(check):
    check()
