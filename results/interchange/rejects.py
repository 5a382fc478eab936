"""Rows of a file that cannot be used: counted, the first ones kept, all of them written to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, ConfigDict

from results.interchange.reading import BadRow

_SHOWN = 20


class Reject(BaseModel):
    """A row that was not imported: the physical line it begins on, and why."""

    model_config = ConfigDict(frozen=True)

    line: int
    reason: str


class Rejects:
    """Counts bad rows and writes them to a file, which is made when the first one comes."""

    def __init__(self, path: Path | None) -> None:
        self.count = 0
        self.first: list[Reject] = []
        self._path = path
        self._file: TextIO | None = None

    def add(self, bad: BadRow) -> None:
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(Reject(line=bad.line, reason=bad.reason))
        if self._path is None:
            return
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w", encoding="utf-8", errors="backslashreplace")
        entry = {"line": bad.line, "reason": bad.reason, "row": bad.content}
        try:
            written = json.dumps(entry, ensure_ascii=False, default=str)
        except RecursionError:
            written = json.dumps({**entry, "row": None}, ensure_ascii=False)
        self._file.write(written + "\n")

    def close(self) -> str | None:
        if self._file is None:
            return None
        self._file.close()
        return str(self._path)
