"""What the Battle page shows of a battle: labels, messages and the line of what happens."""

from __future__ import annotations

import re
from typing import Any

from arena.battle import SIDES, BattleView, SideView
from arena.web._i18n import i18n, text
from results.records import Side


def side_label(view: BattleView | None, side: Side) -> str:
    """What stands above a side: its name once that is shown."""
    anonymous = str(i18n(f"battle.side_{side}"))
    if view is None or view.names is None:
        return anonymous
    return f"{anonymous}: {view.names[SIDES.index(side)]}"


def side_messages(view: BattleView | None, side: Side, locale: str) -> list[dict[str, Any]]:
    """A side's conversation as Gradio's Chatbot wants it, with notes on what went wrong or was left out."""
    found: list[dict[str, Any]] = []
    for turn in view.turns if view else ():
        answer: SideView = getattr(turn, side)
        found.append({"role": "user", "content": turn.prompt})
        if answer.thinking:
            title = text(locale, "battle.thinking")
            found.append({"role": "assistant", "content": answer.thinking, "metadata": {"title": title}})
        if answer.text:
            found.append({"role": "assistant", "content": answer.text})
        note = _note(answer, locale)
        if note:
            found.append({"role": "assistant", "content": f"*{note}*"})
        if answer.dropped_rounds:
            rounds = "\n".join(f"- {_as_text(begins)}" for begins in answer.dropped_rounds)
            found.append({"role": "assistant", "content": f"{text(locale, 'side.dropped')}\n{rounds}"})
    return found


def _as_text(words: str) -> str:
    """Words of others, which are not Markdown, for a place that is."""
    return re.sub(r"([\\`*_\[\]<>#|~])", r"\\\1", " ".join(words.split()))


def _note(answer: SideView, locale: str) -> str | None:
    if answer.status == "failed":
        key = f"side.failed.{answer.error_kind}"
        return text(locale, key)
    if answer.status == "stopped":
        return text(locale, "side.stopped")
    if answer.status == "waiting":
        return text(locale, "side.waiting")
    if answer.status == "finished" and not answer.text:
        return text(locale, "side.empty")
    return None


def status_line(view: BattleView | None, locale: str) -> str:
    """What the battle waits for, or what came out, in words."""
    if view is None:
        return text(locale, "status.idle")
    last = view.turns[-1]
    if view.phase == "answering":
        over = sum(side.status in ("finished", "stopped", "failed") for side in (last.a, last.b))
        return text(locale, "status.one_left" if over else "status.answering")
    if view.phase == "voting":
        if not view.counted:
            return text(locale, "status.failed")
        return text(locale, "status.voting" if view.may_continue else "status.voting_full")
    if view.phase == "voted":
        return text(locale, "status.voted", seconds=max(1, round(view.undo_seconds)))
    assert view.names is not None
    assert view.verdict is not None
    a, b = (_as_text(name) for name in view.names)
    revealed = text(locale, "status.revealed", a=a, b=b, verdict=text(locale, f"verdict.{view.verdict}"))
    return revealed if view.counted else f"{revealed} {text(locale, 'status.not_counted')}"
