"""English and Korean texts of the pages.

Fixed texts are translated in the browser by `gr.I18n`; texts that the server composes (with figures or names)
take the language from the same choice: the language cookie, else what the browser prefers.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import gradio as gr
import yaml
from starlette.requests import HTTPConnection

LOCALES = ("en", "ko")
LANGUAGE_COOKIE = "palaestra_language"


@cache
def texts(locale: str) -> dict[str, str]:
    """All texts of one locale by key."""
    raw = files("arena.web").joinpath(f"locales/{locale}.yaml").read_text(encoding="utf-8")
    return {key: str(value).strip() for key, value in yaml.safe_load(raw).items()}


i18n = gr.I18n(**{locale: texts(locale) for locale in LOCALES})


def text(locale: str, key: str, **figures: Any) -> str:
    """The text of `key` in `locale` with its figures filled in; KeyError for an unknown key."""
    return texts(locale)[key].format(**figures)


def locale_of(connection: HTTPConnection | gr.Request) -> str:
    """The reader's locale: the cookie set by the language link, else the first known one that is accepted."""
    chosen = connection.cookies.get(LANGUAGE_COOKIE)
    if chosen in LOCALES:
        return str(chosen)
    for part in (connection.headers.get("accept-language") or "").split(","):
        language = part.split(";")[0].split("-")[0].strip().lower()
        if language in LOCALES:
            return language
    return LOCALES[0]
