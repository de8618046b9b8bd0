"""Whether the method `alphaedit` keeps its promises to the harness, in the text encoder and in the UNet."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("alphaedit")
def test_conformance(check):
    check()


@parametrize_with_checks("alphaedit", params={"matrices": "ffn"})
def test_conformance_in_the_unet(check):
    check()
