"""Names for voters that only this data directory can make: a keyed hash (HMAC-SHA-256), so that nobody else can
try out addresses or ids until one fits."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from uuid import UUID

_KEY = "pseudonyms.key"


class Pseudonyms:
    """Pseudonyms by the key of a data directory, which is made when it is first needed (mode 0600)."""

    def __init__(self, data_dir: Path) -> None:
        self._key = _load_key(data_dir / _KEY)

    def __call__(self, name: str, kind: str = "voter") -> str:
        """A UUID (version 8) for `name`, the same each time; different for each `kind` of thing."""
        digest = hmac.new(self._key, f"{kind}:{name}".encode(), hashlib.sha256).digest()[:16]
        number = int.from_bytes(digest) & ~(0xF << 76) & ~(0x3 << 62)
        return str(UUID(int=number | (8 << 76) | (2 << 62)))


def _load_key(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
    return path.read_bytes()
