"""What a control that runs another method knows of it while planning."""

import pytest

from unlearnbench.errors import UserError
from unlearnbench.plugins import Entry, load_plugins
from unlearnbench.spec import Origin
from unlearnbench_controls.params import LikeParams, NonWordParams


def test_presets_of_the_other_method_are_filled_in_and_given_values_win():
    presets = {"uce": {"lamb": 0.1, "retain": "prompts"}, "alphaedit": {"lamb": 7.0}}
    found = LikeParams(like_params={"lamb": 2.0}).with_presets(presets)
    assert found == LikeParams(like_params={"lamb": 2.0, "retain": "prompts"})
    assert NonWordParams(word="gnarfle", like="alphaedit").with_presets(presets) == NonWordParams(
        word="gnarfle", like="alphaedit", like_params={"lamb": 7.0}
    )


def test_values_keep_their_types():
    given = {"a": 1, "b": 1.5, "c": True, "d": "1", "e": None, "f": ("x", 2)}
    again = LikeParams.model_validate_json(LikeParams(like_params=given).model_dump_json())
    assert again.like_params == given
    assert {name: type(value) for name, value in again.like_params.items()} == {n: type(v) for n, v in given.items()}


def test_the_digest_changes_with_code_and_parameters_of_the_other_method(request_, monkeypatch):
    plain = LikeParams().reads(request_)
    assert plain == LikeParams(like_params={"lamb": 0.5}).reads(request_)  # its default
    assert plain != LikeParams(like_params={"lamb": 0.6}).reads(request_)
    assert set(plain) == {"uce"}
    origin = Origin(distribution="unlearnbench-uce", version="0.1.0", source="ub1:other")
    monkeypatch.setattr(Entry, "origin", lambda self: origin)
    assert plain != LikeParams().reads(request_)


def test_what_the_other_method_reads_is_read(request_, monkeypatch):
    from unlearnbench_uce.params import UCEParams

    monkeypatch.setattr(UCEParams, "reads", lambda self, request: {"judge": "ub1:judge"})
    assert LikeParams().reads(request_)["uce: judge"] == "ub1:judge"


def test_unknown_methods_wrong_parameters_and_controls_are_refused(request_):
    with pytest.raises(UserError, match="unknown method 'ucee'") as unknown:
        LikeParams(like="ucee").reads(request_)
    assert "did you mean 'uce'" in unknown.value.hint
    with pytest.raises(UserError, match="parameter of uce: unknown field 'lambda'"):
        LikeParams(like_params={"lambda": 1}).reads(request_)
    for entry in load_plugins().methods:
        if entry.spec.control:
            with pytest.raises(UserError, match="is a control, and a control runs a method"):
                LikeParams(like=entry.spec.name).reads(request_)
