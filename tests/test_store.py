"""The store: a folder that exists is complete, whatever happened while it was made."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading

import pytest

from unlearnbench.errors import PrerequisiteError
from unlearnbench.identity import digest
from unlearnbench.store import Store

KEY = digest("a task")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.prepare()
    return store


def put(store, key=KEY, text="content", **options):
    with store.create("sample", key, **options) as folder:
        if folder is not None:
            (folder / "deep").mkdir()
            (folder / "deep" / "file.txt").write_text(text)
        return folder


def test_what_is_stored_is_found_listed_and_intact(store):
    assert not store.has("sample", KEY)
    put(store)
    assert store.has("sample", KEY)
    assert not store.has("edit", KEY)
    assert (store.folder("sample", KEY) / "deep" / "file.txt").read_text() == "content"
    assert [(s.stage, s.key) for s in store.ls()] == [("sample", KEY)]
    assert list(store.verify()) == []


def test_a_failing_task_leaves_nothing(store):
    def fail():
        with store.create("sample", KEY) as folder:
            (folder / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not store.has("sample", KEY)
    assert not list((store.base / "tmp").iterdir())


def test_a_stored_task_is_not_made_again_unless_asked(store):
    put(store)
    assert put(store, text="other") is None
    assert put(store, text="other", replace=True) is not None
    assert (store.folder("sample", KEY) / "deep" / "file.txt").read_text() == "other"
    assert list(store.verify()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from unlearnbench.store import Store
import unlearnbench.store as module

store = Store(Path(sys.argv[1]))
store.prepare()
if sys.argv[3] == "sync":
    module._sync = lambda folder: os.kill(os.getpid(), signal.SIGKILL)
with store.create("sample", sys.argv[2]) as folder:
    (folder / "file.txt").write_text("half")
    if sys.argv[3] == "write":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["write", "sync"])
def test_a_killed_process_leaves_nothing_behind(store, moment):
    done = subprocess.run([sys.executable, "-c", KILLED, str(store.root), KEY, moment], check=False)
    assert done.returncode == -9
    assert not store.has("sample", KEY)
    assert len(list((store.base / "tmp").iterdir())) == 1
    store.prepare()
    assert not list((store.base / "tmp").iterdir())
    put(store)
    assert list(store.verify()) == []


def test_work_in_progress_of_a_live_process_is_left_alone(store):
    with store.create("sample", KEY) as folder:
        Store(store.root).prepare()
        assert folder.is_dir()
        (folder / "file.txt").write_text("x")
    assert store.has("sample", KEY)


def test_two_at_once_make_a_task_once(store):
    made = []

    def work():
        made.append(put(Store(store.root)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(folder is not None for folder in made) == 1


@pytest.mark.parametrize("damage", ["change", "remove", "add", "manifest", "move"])
def test_damage_is_found(store, damage):
    put(store)
    folder = store.folder("sample", KEY)
    file = folder / "deep" / "file.txt"
    if damage == "change":
        file.write_text("Content")
    elif damage == "remove":
        file.unlink()
    elif damage == "add":
        (folder / "more").write_text("")
    elif damage == "manifest":
        (folder / "manifest.json").write_text("{")
    else:
        other = store.folder("sample", digest("another task"))
        other.parent.mkdir(parents=True)
        folder.rename(other)
    (found,) = store.verify()
    assert found.stage == "sample"
    assert found.reason


def test_failures_are_kept_apart_and_forgotten_when_the_task_succeeds(store):
    store.record_failure("sample", KEY, "RuntimeError: no", "Traceback ...")
    (file,) = (store.base / "failures" / "sample").iterdir()
    assert "RuntimeError: no" in file.read_text()
    assert list(store.ls()) == []
    put(store)
    assert not file.exists()


def test_a_folder_that_cannot_be_made_is_a_two_line_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PrerequisiteError, match="cannot write") as error:
        Store(tmp_path / "file" / "store").prepare()
    assert "--store" in error.value.hint


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "Read-only file system")]
)
def test_a_disk_that_refuses_is_a_two_line_error_and_stores_nothing(store, monkeypatch, number, words):
    monkeypatch.setattr(
        "unlearnbench.store._sync", lambda folder: (_ for _ in ()).throw(OSError(number, os.strerror(number)))
    )
    with pytest.raises(PrerequisiteError, match=words):
        put(store)
    assert not store.has("sample", KEY)
    assert not list((store.base / "tmp").iterdir())


def test_the_trouble_of_a_plugin_keeps_its_own_message(store):
    with pytest.raises(FileNotFoundError), store.create("sample", KEY):
        open("/nonexistent/file")  # noqa: PTH123, SIM115
