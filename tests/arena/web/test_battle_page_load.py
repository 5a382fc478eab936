"""Loading the Battle page, without a browser: what may arrive after a voter's first click."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from arena.web.pages.battle import _BattlePage, _Parts
from results.ids import new_id


class NoBattle:
    """Battles of a voter who has none, and three prepared ones to vote on."""

    def current(self, voter: UUID) -> None:
        return None

    async def restore(self, voter: UUID) -> tuple[None, None]:
        return None, None

    async def prepared_left(self, voter: UUID) -> int:
        return 3


async def test_a_late_load_undoes_nothing_of_a_battle_that_has_begun() -> None:
    voter = new_id()
    context: Any = SimpleNamespace(battles=NoBattle(), cookies=SimpleNamespace(voter=lambda request: voter))
    parts: Any = {field.name: field.name for field in fields(_Parts)}
    request: Any = SimpleNamespace(cookies={"lang": "en"}, headers={})
    sent = [updates async for updates in _BattlePage(context, _Parts(**parts)).load(None, request)]
    assert [list(updates) for updates in sent] == [["prepared"]]
    assert sent[0]["prepared"]["visible"] is True
    assert "3" in sent[0]["prepared"]["value"]
