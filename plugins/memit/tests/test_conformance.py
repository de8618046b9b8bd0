"""The method keeps its promises to the harness, in each group of matrices."""

from unlearnbench.testing import parametrize_with_checks


@parametrize_with_checks("memit")
def test_conformance(check):
    check()


@parametrize_with_checks("memit", params={"matrices": "ffn"})
def test_conformance_of_feed_forward_layers(check):
    check()


@parametrize_with_checks("memit", params={"matrices": "kv", "lamb": 1.0})
def test_conformance_of_keys_and_values(check):
    check()
