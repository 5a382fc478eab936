"""The language of a prompt, by py3langid among the languages that people are likely to write here."""

from __future__ import annotations

from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

LANGUAGES = (
    "ar", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko",
    "nl", "pl", "pt", "ru", "th", "tr", "uk", "vi", "zh",
)  # fmt: skip
LEAST_CONFIDENCE = 0.6


@cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier


def language_of(text: str) -> str:
    """The ISO 639-1 code of the text's language, or '' where that cannot be said with confidence."""
    if not any(character.isalpha() for character in text):
        return ""
    language, confidence = _identifier().classify(text)
    return str(language) if confidence >= LEAST_CONFIDENCE else ""
