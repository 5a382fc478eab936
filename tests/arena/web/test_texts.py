import inspect
import re
import string

import arena.battle._service
from arena.engines.base import EngineError
from arena.web._i18n import LOCALES, texts
from results.ratings import REASONS


def figures(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_every_text_with_the_same_figures() -> None:
    english, korean = (texts(locale) for locale in LOCALES)
    assert english.keys() == korean.keys()
    for key in english:
        assert english[key], key
        assert figures(english[key]) == figures(korean[key]), key


def test_korean_texts_are_korean() -> None:
    same_in_both = {"app.name", "nav.language"}
    for key, value in texts("ko").items():
        if key not in same_in_both:
            assert re.search("[가-힣]", value), key


def test_every_way_to_fail_and_every_reason_has_its_text() -> None:
    def subclasses(error: type[EngineError]) -> list[type[EngineError]]:
        return [error, *(below for each in error.__subclasses__() for below in subclasses(each))]

    keys = texts("en")
    for error in subclasses(EngineError):
        assert f"side.failed.{error.kind}" in keys
    for status in REASONS:
        assert status == "rated" or f"unrated.{status}" in keys
    codes = set(re.findall(r'BattleError\(\s*"(\w+)"', inspect.getsource(arena.battle._service)))
    assert codes
    for code in codes:
        assert f"error.{code}" in keys
