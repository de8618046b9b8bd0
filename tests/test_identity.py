"""Keys: canonical, tagged, and pinned. The pinned digests below must not be changed without a new KEY_VERSION."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnbench.api import EditPair, ForgetConcept, Question, Request, Target
from unlearnbench.identity import KEY_VERSION, canonical_json, digest, digest_files, seed_of, short
from unlearnbench.spec import (
    CalibrationTask,
    EditTask,
    Origin,
    SamplerSpec,
    SampleTask,
    ScoreTask,
    SetScoreTask,
)

ORIGIN = Origin(distribution="unlearnbench-x", version="1.2", source="ub1:aa")
EDIT = EditTask(
    method="x",
    origin=ORIGIN,
    params={"lamb": 0.5, "layers": [1, 2], "projection": True, "name": "é"},
    request=Request(
        forget=(
            ForgetConcept(
                id="dog", kind="object", name="dog", aliases=("puppy",), target="cat",
                pairs=(EditPair(prompt="a dog", target="a cat"),),
            ),
        ),
        retain=("a bird",),
        retain_names=("bird",),
    ),
    model="ub1:bb",
    seed=3,
    dtype="bfloat16",
)  # fmt: skip
SAMPLE = SampleTask(
    model="ub1:bb", edit="ub1:cc", prompts=("a dog", "a puppy"), seeds=(0, 7),
    sampler=SamplerSpec(scheduler="lms", steps=10, guidance=4.0, size=64, dtype="float16"),
)  # fmt: skip
SCORE = ScoreTask(
    sample="ub1:dd", evaluator="clip", origin=ORIGIN, params={"threshold": 0.5}, fingerprint="ub1:ee",
    question=Question(
        concept="dog", kind="object", display="dog", description="a dog", target=Target(id="cat", display="cat"),
        classes={"dog": "a dog", "cat": "a cat"},
    ),
)  # fmt: skip
JUDGED = SCORE.model_dump(exclude={"sample"})
SET_SCORE = SetScoreTask(edited="ub1:dd", reference="ub1:ff", **JUDGED)
CALIBRATION = CalibrationTask(images="ub1:gg", **JUDGED)
GOLDEN = {
    "ub1": {
        "edit": "e724eadc61d4c81c3712cf80a427b3f5fe6c2a305aa072729c72bd31e7fe3cf2",
        "sample": "c9c50306361f9202b95b50eaf7acef9642ab30684a698203583ecd295cbb1ac3",
        "score": "0108ae8c0ff274b62333c646f42635760f351d1bc5fd3cf2f9d19ebcdc51a32c",
        "set-score": "1189a82bea453377b5a78a6b0c37e78a649ec7c596a0e9db20a77d0317d9737a",
        "calibration": "681b7661e90b38ea046193fb190d472855189954370db9864b0399b36fb62b1e",
    }
}


def test_keys_of_this_version_never_change():
    tasks = {"edit": EDIT, "sample": SAMPLE, "score": SCORE, "set-score": SET_SCORE, "calibration": CALIBRATION}
    found = {stage: task.key() for stage, task in tasks.items()}
    assert found == {stage: f"{KEY_VERSION}:{value}" for stage, value in GOLDEN[KEY_VERSION].items()}


@pytest.mark.parametrize("task", [EDIT, SAMPLE, SCORE, SET_SCORE, CALIBRATION], ids=lambda task: type(task).__name__)
def test_every_field_of_a_task_enters_its_key(task):
    other = {
        "params": {}, "prompts": ("x",), "seeds": (9,), "seed": 4, "dtype": "float16", "edit": None,
        "reads": {"judge": "ub1:ff"},
        "origin": ORIGIN.model_copy(update={"source": "ub1:zz"}),
        "request": EDIT.request.model_copy(update={"retain": ()}),
        "sampler": SamplerSpec(), "question": SCORE.question.model_copy(update={"description": "a hound"}),
    }  # fmt: skip
    for name in type(task).model_fields:
        changed = task.model_copy(update={name: other.get(name, "another")})
        assert changed.key() != task.key(), name


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(JSON)
def test_canonical_form_depends_on_the_value_only(value):
    def rebuilt(v):
        if isinstance(v, dict):
            return {k: rebuilt(v[k]) for k in reversed(v)}
        return tuple(rebuilt(x) for x in v) if isinstance(v, list) else v

    assert canonical_json(rebuilt(value)) == canonical_json(value)
    assert canonical_json(value).isascii()


def test_equal_numbers_have_one_form():
    assert canonical_json({"a": 1.0}) == canonical_json({"a": 1}) == '{"a":1}'
    assert canonical_json(True) != canonical_json(1)


@pytest.mark.parametrize("value", [math.nan, math.inf, [1, -math.inf]])
def test_what_is_no_number_has_no_key(value):
    with pytest.raises(ValueError, match="JSON"):
        digest(value)


def test_unhashable_values_are_refused():
    with pytest.raises(TypeError):
        digest({1: "a"})
    with pytest.raises(TypeError):
        digest(object())


def test_digest_of_files_depends_on_names_and_contents(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("1")
    b.write_text("2")
    whole = digest_files([("a", a), ("b", b)])
    assert whole == digest_files([("b", b), ("a", a)])
    assert whole != digest_files([("a", b), ("b", a)])
    assert whole != digest_files([("a", a), ("c", b)])
    assert short(whole) == whole[4:16]


@given(st.lists(st.text() | st.integers(0, 2**31), max_size=4), st.lists(st.text() | st.integers(0, 2**31), max_size=4))
def test_seeds_differ_where_their_scopes_do(one, other):
    assert 0 <= seed_of(*one) < 2**63
    assert (seed_of(*one) == seed_of(*other)) == (one == other)
