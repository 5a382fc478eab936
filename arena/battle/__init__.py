"""Battles: two anonymous model versions answer one conversation, and a voter gives one verdict.

`BattleService` holds the battles that are going on; everything it acknowledges is in the store first. It is
asyncio code for one event loop and knows nothing of the page that shows it: a page reads `BattleView`s, which
hold the models' names only once the battle is revealed.
"""

from arena.battle._live import SIDES, BattleError, BattleView, SideView, TurnView
from arena.battle._service import BattleService

__all__ = ["SIDES", "BattleError", "BattleService", "BattleView", "SideView", "TurnView"]
