"""The files through which processes find each other, beside the database."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

# Raised when operations or payloads change so that processes of two versions must not talk to each other.
PROTOCOL = 1


class Files:
    """Where everything of one store lies in a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.database = data_dir / "palaestra.duckdb"
        self.lock = data_dir / "palaestra.duckdb.lock"
        self.endpoint = data_dir / "palaestra.duckdb.endpoint"
        self.import_lock = data_dir / "palaestra.duckdb.import-lock"
        self.backups = data_dir / "backups"


class Endpoint(BaseModel):
    """How to reach the owner over the loopback. The file is readable by its user alone: the token is the
    key."""

    model_config = ConfigDict(frozen=True)

    protocol: int
    pid: int
    port: int
    token: str

    @classmethod
    def make(cls, pid: int, port: int, token: str) -> Self:
        """An endpoint of this version of the code."""
        return cls(protocol=PROTOCOL, pid=pid, port=port, token=token)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The endpoint in `path`; None where there is none (yet)."""
        try:
            return cls.model_validate_json(path.read_text("utf-8"))
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, path: Path) -> None:
        """Put the endpoint in place, in one step, readable by this user alone."""
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(self.model_dump_json())
        temporary.replace(path)

    def remove(self, path: Path) -> None:
        """Remove the file where it is still this endpoint's."""
        if Endpoint.read(path) == self:
            path.unlink(missing_ok=True)
