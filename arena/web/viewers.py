"""Who looks at a page, and what may be shown: operators see engines, unless that tells their own battle's models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from arena.web._frame import PageContext
from arena.web._i18n import locale_of
from arena.web.operators import is_operator


@dataclass(frozen=True)
class Viewer:
    """`blind`: the viewer's own battle is open, and what engines do now would tell which models answer it."""

    locale: str
    operator: bool
    blind: bool

    @property
    def sees_engines(self) -> bool:
        """Whether load states, memory and errors may be shown."""
        return self.operator and not self.blind

    def place(self, text: str) -> str:
        """A source or a parent: where on this machine it lies is for the operator alone."""
        return text if self.operator or not re.match(r"[/~.\\]|[A-Za-z]:\\", text) else Path(text).name


def viewer_of(context: PageContext, request: gr.Request) -> Viewer:
    """Who sent the request. Asks the store: milliseconds."""
    voter = context.cookies.voter(request)
    battle = None if voter is None else context.battles.current(voter)
    return Viewer(
        locale=locale_of(request),
        operator=is_operator(request),
        blind=battle is not None and battle.phase != "revealed",
    )
