"""What a public export covers: who voted, and personal data in texts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from results.interchange.personal import screen_value
from results.interchange.pseudonyms import Pseudonyms

_IDS = {"vote_uuid": "vote", "battle_uuid": "battle", "voter": "voter"}
_TEXTS = ("prompt", "instruction")
_CONVERSATIONS = ("conversation_a", "conversation_b")


class Cover:
    """Covers rows of the usual schema; `found` counts the marks by kind."""

    def __init__(self, data_dir: Path) -> None:
        self._pseudonym = Pseudonyms(data_dir)
        self.found: Counter[str] = Counter()

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row as it may be published. The ids of votes and battles are covered too: they may be made of
        the voter's."""
        changed: dict[str, Any] = {}
        for name, kind in _IDS.items():
            if row.get(name):
                changed[name] = self._pseudonym(str(row[name]), kind)
        for name in _TEXTS:
            if row.get(name):
                changed[name] = self.text(row[name])
        for name in _CONVERSATIONS:
            if row.get(name):
                screened = screen_value(json.loads(row[name]), self.found)
                changed[name] = json.dumps(screened, ensure_ascii=False, separators=(",", ":"))
        return {**row, **changed}

    def text(self, value: Any) -> Any:
        """Any value with its texts screened."""
        return screen_value(value, self.found)

    def battle(self, battle_id: str) -> str:
        """A battle's pseudonym."""
        return self._pseudonym(battle_id, "battle")
