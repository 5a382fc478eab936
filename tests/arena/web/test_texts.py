import re
import string

from arena.web._i18n import LOCALES, texts


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
