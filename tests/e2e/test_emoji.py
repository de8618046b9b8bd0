"""The embedded world end to end: the weights that are shipped, the real methods, the real judge."""

from __future__ import annotations

import json
from fnmatch import fnmatch

import pandas as pd
import pytest
from safetensors import safe_open

from unlearnbench.cli import main
from unlearnbench.plugins import load_plugins
from unlearnbench.store import Store
from unlearnbench.suites import load_suite

SUITE = """
name = "emoji-test"
title = "EmojiWorld, smallest"
version = 1
model = { id = "emoji-sd" }
dataset = "emojiworld"
forget = ["night_sky"]
evaluate = ["night_sky", "golf"]
seeds = [0]

[sampler]
scheduler = "ddim"
steps = 20
guidance = 4.0

[evaluator]
name = "clip"
params = { model = "emoji-judge-clip" }
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Run both methods on the smallest suite once: (store folder, board, scores)."""
    folder = tmp_path_factory.mktemp("emoji")
    # The presets of the shipped suite: a null space chosen for SD 1.4's text encoder is too small for this one.
    shipped = load_suite(load_plugins(), "emoji-quick").presets
    presets = [f"{m}.{k}={json.dumps(v)}" for m, values in shipped.items() for k, v in values.items()]
    (folder / "suite.toml").write_text(SUITE)
    arguments = ["run", str(folder / "suite.toml"), "--method", "uce", "--method", "alphaedit"]
    arguments += [word for preset in presets for word in ("-p", preset)]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--device", "cpu", "--store", str(folder / "store"), "-f", "json"])
    assert not end.value.code
    (place,) = (folder / "store" / "v1" / "results").iterdir()
    tables = {path.stem.partition("@")[0]: pd.read_parquet(path) for path in place.glob("*.parquet")}
    return folder, tables


def mean(table, role):
    return table.loc[table.role == role, "label"].astype(float).mean()


def test_every_image_is_judged(results):
    _, tables = results
    assert len(tables) == 4
    for table in tables.values():
        assert len(table) == 20
        assert table.label.notna().all()
        assert (table.status == "ok").all()


def test_the_unedited_model_draws_what_it_is_asked(results):
    # Two concepts that the shipped weights draw well; the gates report of the distribution has all twenty.
    _, tables = results
    direct = tables["unedited"][tables["unedited"].prompt_kind == "direct"]
    assert direct.label.astype(float).mean() >= 0.7
    assert mean(tables["prompt-swap"], "forget") < mean(tables["unedited"], "forget")


def test_a_method_forgets_more_than_no_method(results):
    _, tables = results
    names = [name for name in tables if name not in ("unedited", "prompt-swap")]
    assert len(names) == 2
    for name in names:
        assert mean(tables[name], "forget") < mean(tables["unedited"], "forget"), name


def test_methods_change_only_what_they_declare(results):
    folder, tables = results
    store, methods = Store(folder / "store"), load_plugins().methods
    for table in tables.values():
        (key,) = table.edit_key.unique()
        if not key:
            continue
        declared = methods.get(table.plugin.iloc[0]).spec.edits
        with safe_open(store.folder("edit", key) / "edit.safetensors", "pt") as stream:
            changed = list(stream.keys())
        assert changed
        assert all(any(fnmatch(name, pattern) for pattern in declared) for name in changed), changed
    assert list(store.verify()) == []
