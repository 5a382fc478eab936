"""Windows: which rounds of a long conversation the model gets to see.

A round is one user turn (one or more user messages in a row) with everything up to the next. Windows drop
whole rounds before rendering; system messages and the last round always stay.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prompt_formats.conversation import Conversation, Message
from prompt_formats.errors import InvalidInput, OverBudget

Count = Callable[[Conversation], int]


@dataclass(frozen=True)
class Round:
    """A round with its number in the whole conversation, counted from 1."""

    number: int
    messages: tuple[Message, ...]

    @property
    def text(self) -> str:
        """What was said in the round, a line a message."""
        return "\n".join(message.content for message in self.messages)

    @property
    def question(self) -> str:
        """The user's text of the round."""
        return "\n".join(message.content for message in self.messages if message.role == "user")


@dataclass(frozen=True)
class Windowed:
    """What a window kept: system messages, rounds, the rounds it dropped, and the summary that replaced
    them."""

    system: tuple[Message, ...]
    rounds: tuple[Round, ...]
    dropped: tuple[Round, ...] = ()
    summary: str | None = None

    def conversation(self) -> Conversation:
        """The messages that remain, in order; a summary follows the system text."""
        system = self.system
        if self.summary:
            note = f"Summary of the earlier conversation:\n{self.summary}"
            if system:
                joined = f"{system[-1].content}\n\n{note}" if system[-1].content else note
                system = (*system[:-1], system[-1].model_copy(update={"content": joined}))
            else:
                system = (Message(role="system", content=note),)
        return Conversation(messages=(*system, *(m for r in self.rounds for m in r.messages)))


class Window(Protocol):
    """A rule by which rounds are dropped. `count` gives the tokens of a conversation's rendered prompt."""

    def apply(self, windowed: Windowed, count: Count | None) -> Windowed:
        """`windowed` with fewer rounds, or the same."""
        ...


def split_rounds(conversation: Conversation) -> Windowed:
    """System messages before the first round, and the rounds.

    A system message in mid-conversation belongs to its round; where that round is dropped it is kept.
    """
    system: list[Message] = []
    rounds: list[list[Message]] = []
    for message in conversation.messages:
        if message.role == "system" and not rounds:
            system.append(message)
        elif not rounds or (message.role == "user" and _spoken(rounds[-1])):
            rounds.append([*_take_trailing_system(rounds), message])
        else:
            rounds[-1].append(message)
    return Windowed(tuple(system), tuple(Round(number, tuple(r)) for number, r in enumerate(rounds, start=1)))


def _spoken(messages: list[Message]) -> bool:
    return any(m.role not in ("user", "system") for m in messages)


def _take_trailing_system(rounds: list[list[Message]]) -> list[Message]:
    """A system message between two rounds speaks to the round after it."""
    if not rounds:
        return []
    last = rounds[-1]
    count = 0
    while count < len(last) and last[-1 - count].role == "system":
        count += 1
    taken = last[len(last) - count :]
    del last[len(last) - count :]
    return taken


def keep(windowed: Windowed, kept: Sequence[Round]) -> Windowed:
    """`windowed` with only the rounds of `kept`; system messages of the others move to the front."""
    numbers = {r.number for r in kept}
    dropped = tuple(r for r in windowed.rounds if r.number not in numbers)
    saved = tuple(m for r in dropped for m in r.messages if m.role == "system")
    return Windowed(
        (*windowed.system, *saved),
        tuple(r for r in windowed.rounds if r.number in numbers),
        (*windowed.dropped, *dropped),
        windowed.summary,
    )


@dataclass(frozen=True)
class LastRounds:
    """Keep the last `k` rounds (k >= 1)."""

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InvalidInput(f"last_rounds must be at least 1, got {self.k}")

    def apply(self, windowed: Windowed, count: Count | None) -> Windowed:
        """The last `k` rounds."""
        return keep(windowed, windowed.rounds[-self.k :])


@dataclass(frozen=True)
class TokenBudget:
    """Keep the longest run of last rounds whose rendered prompt takes at most `tokens` ids, BOS, system text
    and generation prompt included."""

    tokens: int

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InvalidInput(f"token_budget must be at least 1, got {self.tokens}")

    def apply(self, windowed: Windowed, count: Count | None) -> Windowed:
        """Raises `OverBudget` where system text and last round alone do not fit, `InvalidInput` without a
        tokenizer."""
        if count is None:
            raise InvalidInput("token_budget counts ids: give a tokenizer with the format")
        total = len(windowed.rounds)

        def size(rounds: int) -> int:
            return count(keep(windowed, windowed.rounds[total - rounds :]).conversation())

        if total == 0 or size(total) <= self.tokens:
            return windowed
        least = size(1)
        if least > self.tokens:
            raise OverBudget(
                f"the last turn with the system text takes {least} tokens, the budget is {self.tokens}: "
                "shorten it or raise the budget"
            )
        fits, too_many = 1, total
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            fits, too_many = (middle, too_many) if size(middle) <= self.tokens else (fits, middle)
        return keep(windowed, windowed.rounds[total - fits :])


@dataclass(frozen=True)
class Search:
    """Keep the last round and the `k` earlier ones most similar to its question.

    `similarity(question, texts)` gives a score for each text (an embedding model's cosine, for instance);
    without it BM25 over words and, for languages written without spaces or with endings, character pairs.
    """

    k: int
    similarity: Callable[[str, Sequence[str]], Sequence[float]] | None = None

    def apply(self, windowed: Windowed, count: Count | None) -> Windowed:
        """The rounds found, in their order, and the last."""
        if self.k < 0:
            raise InvalidInput(f"search must keep 0 or more rounds, got {self.k}")
        *earlier, last = windowed.rounds or (None,)
        if last is None or len(earlier) <= self.k:
            return windowed
        candidates = [r for r in earlier if r is not None]
        score = self.similarity or bm25
        scores = score(last.question, [r.text for r in candidates])
        # Of equally similar rounds the later one.
        best = sorted(range(len(candidates)), key=lambda i: (-scores[i], -i))[: self.k]
        return keep(windowed, [*(candidates[i] for i in sorted(best)), last])


@dataclass(frozen=True)
class Summary:
    """Keep the last `k` rounds as they are, and replace the older ones by a summary.

    `summarise(text)` gets the older rounds (with the earlier summary first, where there is one), one line
    `role: text` a message, and returns the summary; the text is kept in the log and shown.
    """

    summarise: Callable[[str], str]
    k: int = 1

    def apply(self, windowed: Windowed, count: Count | None) -> Windowed:
        """The last rounds with a summary of the others; unchanged where there are none."""
        if self.k < 1:
            raise InvalidInput(f"summary must keep at least 1 round, got {self.k}")
        older = windowed.rounds[: -self.k]
        if not older:
            return windowed
        lines = [windowed.summary] if windowed.summary else []
        lines += [f"{m.role}: {m.content}" for r in older for m in r.messages if m.role != "system"]
        kept = keep(windowed, windowed.rounds[-self.k :])
        return Windowed(kept.system, kept.rounds, kept.dropped, self.summarise("\n".join(lines)).strip())


@dataclass(frozen=True)
class Compose:
    """Several windows, one after the other."""

    windows: tuple[Window, ...]

    def apply(self, windowed: Windowed, count: Count | None) -> Windowed:
        """What the last window leaves."""
        for window in self.windows:
            windowed = window.apply(windowed, count)
        return windowed


def window_from(setting: Mapping[str, Any] | None) -> Window | None:
    """A window from settings such as `{"token_budget": 2048}` or `{"last_rounds": 4, "token_budget": 2048}`
    (applied in the order given). Summary and search by embedding need a model and are built in code;
    `{"search": k}` is BM25. Raises `InvalidInput` for anything else."""
    if not setting:
        return None
    makers: dict[str, Callable[[int], Window]] = {
        "last_rounds": LastRounds,
        "token_budget": TokenBudget,
        "search": Search,
    }
    windows = []
    for name, value in setting.items():
        if name not in makers:
            raise InvalidInput(f"unknown window {name!r}; windows are {', '.join(makers)}")
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidInput(f"window {name}: expected a whole number, got {value!r}")
        windows.append(makers[name](value))
    return windows[0] if len(windows) == 1 else Compose(tuple(windows))


_WORD = re.compile(r"\w+", re.UNICODE)
_UNSPACED = re.compile(r"[^\x00-\u02ff]")


def _terms(text: str) -> list[str]:
    terms = []
    for word in _WORD.findall(text.lower()):
        terms.append(word)
        if _UNSPACED.search(word):  # Korean endings change the word, not its first syllables
            terms += [word[i : i + 2] for i in range(len(word) - 1)]
    return terms


def bm25(question: str, texts: Sequence[str], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Okapi BM25 of each text against the question (Robertson and Zaragoza 2009, with the +1 of Lucene)."""
    documents = [Counter(_terms(text)) for text in texts]
    lengths = [sum(document.values()) for document in documents]
    mean = sum(lengths) / len(lengths) if any(lengths) else 1.0
    scores = [0.0] * len(texts)
    for term in set(_terms(question)):
        holding = sum(term in document for document in documents)
        weight = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        for index, document in enumerate(documents):
            frequency = document[term]
            scale = frequency + k1 * (1 - b + b * lengths[index] / mean)
            scores[index] += weight * frequency * (k1 + 1) / scale if frequency else 0.0
    return scores
