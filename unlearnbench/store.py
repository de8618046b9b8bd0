"""The content-addressed store: a folder that exists is complete.

<root>/v1/<stage>/<2 hex>/<64 hex>/     what one task made, with manifest.json (sha256 of every file)
<root>/v1/set-score/<2>/<64 hex>/       the comparison of images with those of the unedited model
<root>/v1/calibration/<2>/<64 hex>/     what a judge said of images of known content
<root>/v1/results/<protocol>/           tidy score tables, one a row of the board
<root>/v1/failures/<stage>/<64 hex>.json
<root>/v1/tmp, <root>/v1/locks          work in progress
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import platformdirs
from filelock import FileLock, Timeout

from unlearnbench.atomic import replace_text, sync_folder
from unlearnbench.errors import PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Iterator

Stage = Literal["edit", "sample", "score", "set-score", "calibration"]
STAGES: tuple[Stage, ...] = get_args(Stage)
REFUSALS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EIO}
)
ENVIRON = "UNLEARNBENCH_STORE"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Stored:
    """One complete folder of the store."""

    stage: Stage
    key: str
    folder: Path
    size: int


@dataclass(frozen=True)
class Damage:
    """A folder of the store whose content is not what was written."""

    stage: Stage
    key: str
    folder: Path
    reason: str


def default_root() -> Path:
    """Return the store folder: $UNLEARNBENCH_STORE, else the user's data folder."""
    given = os.environ.get(ENVIRON)
    return Path(given) if given else Path(platformdirs.user_data_dir("unlearnbench", appauthor=False)) / "store"


class Store:
    """A store on disk.

    Args:
        root: its folder; made on first writing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = root / "v1"

    def folder(self, stage: Stage, key: str) -> Path:
        """Return where the result of a task is, or would be."""
        hexdigits = key.partition(":")[2]
        return self.base / stage / hexdigits[:2] / hexdigits

    def has(self, stage: Stage, key: str) -> bool:
        """Tell whether the result of a task is stored; it is complete if it is."""
        return (self.folder(stage, key) / MANIFEST).is_file()

    def prepare(self) -> None:
        """Make the store usable for writing, and remove what dead processes left.

        Raises:
            PrerequisiteError: the folder cannot be written.
        """
        with _writable(self.root):
            for name in ("tmp", "locks"):
                (self.base / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.base / "tmp"):
                pass
            self.sweep()

    def sweep(self) -> int:
        """Remove work in progress of processes that no longer live; return how many folders were removed."""
        removed = 0
        for tmp in sorted((self.base / "tmp").glob("*.*")):
            lock = self._lock(tmp.name.split(".")[1])
            with contextlib.suppress(Timeout), lock.acquire(blocking=False):
                shutil.rmtree(tmp, ignore_errors=True)
                removed += 1
        return removed

    @contextlib.contextmanager
    def create(self, stage: Stage, key: str, *, replace: bool = False) -> Iterator[Path | None]:
        """Lend a temporary folder to fill; move it into place with one rename when the block ends well.

        Yields None when another process has stored the same task meanwhile and `replace` is false. Nothing is stored
        when the block raises.

        Raises:
            PrerequisiteError: the folder cannot be written, or the disk is full.
        """
        final = self.folder(stage, key)
        name = final.name
        with _writable(self.root), self._lock(name):
            if self.has(stage, key) and not replace:
                yield None
                return
            tmp = Path(tempfile.mkdtemp(prefix=f"{stage}.{name}.", dir=self.base / "tmp"))
            try:
                yield tmp
                write_json(tmp / MANIFEST, {"stage": stage, "key": key, "files": _digests(tmp)})
                _sync(tmp)
                final.parent.mkdir(parents=True, exist_ok=True)
                if final.exists():
                    # Aside first: a reader sees the old folder, none, or the new one, never a mixture.
                    aside = tmp.with_name(tmp.name + ".old")
                    final.rename(aside)
                    shutil.rmtree(aside, ignore_errors=True)
                tmp.rename(final)
                sync_folder(final.parent)
                self._failure(stage, key).unlink(missing_ok=True)
            finally:
                shutil.rmtree(tmp, ignore_errors=True)

    def record_failure(self, stage: Stage, key: str, reason: str, details: str) -> Path:
        """Keep why a task failed, and return the file; the task is tried again at the next run."""
        with _writable(self.root):
            path = self._failure(stage, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, json.dumps({"stage": stage, "key": key, "reason": reason, "details": details}, indent=1))
        return path

    def _failure(self, stage: Stage, key: str) -> Path:
        return self.base / "failures" / stage / f"{key.partition(':')[2]}.json"

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.base / "locks" / f"{name}.lock")

    def results(self, protocol: str) -> Path:
        """Return the folder of the score tables of one protocol."""
        return self.base / "results" / protocol.partition(":")[2][:16]

    def ls(self) -> Iterator[Stored]:
        """List everything that is stored, stage by stage, sorted by key."""
        for stage in STAGES:
            for manifest in sorted((self.base / stage).glob(f"*/*/{MANIFEST}")):
                folder = manifest.parent
                size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
                yield Stored(stage, json.loads(manifest.read_text())["key"], folder, size)

    def verify(self) -> Iterator[Damage]:
        """Hash every stored file again and list the folders that differ from their manifest."""
        for stage in STAGES:
            for folder in sorted((self.base / stage).glob("*/*")):
                reason = _damage(folder)
                if reason:
                    yield Damage(stage, f"ub1:{folder.name}", folder, reason)


def write_json(path: Path, value: object) -> None:
    """Write `value` as readable JSON with sorted keys."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _writable(root: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that a user understands."""
    try:
        yield
    except OSError as error:
        inside = error.filename is None or Path(error.filename).is_relative_to(root)
        if error.errno not in REFUSALS or not (inside or root.is_relative_to(error.filename)):
            raise  # not about this store: a plugin's own trouble keeps its own message
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full" if full else f"cannot write: {error.strerror or error}"
        raise PrerequisiteError(
            f"store {root}: {what}", "choose another folder: --store DIR, or set UNLEARNBENCH_STORE"
        ) from error


def _digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != MANIFEST
    }


def _damage(folder: Path) -> str | None:
    """Return how a folder differs from its manifest, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        expected, found = manifest["files"], _digests(folder)
    except (OSError, ValueError, KeyError) as error:
        return f"unreadable: {error}"
    if manifest["key"].partition(":")[2] != folder.name:
        return "stored under another key"
    for name in sorted(expected | found):
        if expected.get(name) != found.get(name):
            return f"{name}: {'missing' if name not in found else 'added' if name not in expected else 'changed'}"
    return None


def _sync(folder: Path) -> None:
    """Force every file of a folder to disk, so that the rename cannot overtake the content."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    sync_folder(folder)
