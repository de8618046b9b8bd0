"""Identity: canonical JSON and tagged digests. What enters a key is decided by the tasks in `spec`."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

KEY_VERSION = "ub1"


def canonical_json(value: Any) -> str:
    """Write `value` as canonical JSON: sorted keys, no white space, ASCII only.

    Two values have the same canonical form exactly when they are equal as JSON. The form is part of the contract of
    every key: changing it means a new `KEY_VERSION`.

    Raises:
        TypeError: `value` holds something that JSON does not know.
        ValueError: `value` holds NaN or an infinity.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """Return the tagged digest 'ub1:<64 hex digits>' of the canonical JSON of `value`."""
    return f"{KEY_VERSION}:{hashlib.sha256(canonical_json(value).encode()).hexdigest()}"


def digest_files(files: Iterable[tuple[str, Path]]) -> str:
    """Return the tagged digest of named files, whatever order they come in.

    Args:
        files: (name, path) pairs; the name enters the digest, the path does not.

    Raises:
        OSError: a file cannot be read.
    """
    whole = hashlib.sha256()
    for name, path in sorted(files):
        content = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                content.update(block)
        whole.update(f"{name}\0{content.hexdigest()}\n".encode())
    return f"{KEY_VERSION}:{whole.hexdigest()}"


def short(key: str) -> str:
    """Return the first 12 hex digits of a key, for people."""
    return key.partition(":")[2][:12]


def seed_of(*scope: str | int) -> int:
    """Return a 63-bit seed that depends on every part of `scope` and on nothing else."""
    text = canonical_json(list(scope))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _plain(value: Any) -> Any:
    """Turn models, tuples and integral numbers into what JSON knows."""
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json"))
    if isinstance(value, dict):
        if any(not isinstance(k, str) for k in value):
            raise TypeError("a key of a hashed mapping is not a string")
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and math.isfinite(value) and value == int(value) and abs(value) < 2**53:
        return int(value)  # 1.0 and 1 are the same parameter
    return value
