"""The rows of `calls.jsonl`, made from patterns and words of our own (`patterns.yaml`, CC0-1.0).

`python -m trainers.data.make_calls` prints them again, byte by byte, mixed with the talks of `chats.jsonl`, which
keep a model talking that is trained on them.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parent
SEED = 20_261_122
EACH = {
    "alarm": 44, "convert": 44, "timer": 26, "weather": 40, "music": 36, "call": 34, "light": 36, "shopping": 40,
}  # fmt: skip
"""Requests of each function in each language."""
FOLLOWED = 30
"""Conversations of two requests."""

AMOUNTS = (1, 2, 5, 10, 20, 30, 50, 80, 100, 150, 200, 250, 300, 500, 1000, 2000, 3000, 5000, 10000)
MINUTES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 90)
VOLUMES = tuple(range(10, 100, 10))

Pairs = Iterator[tuple[str, str]]
Words = list[tuple[str, str]]
"""Values as the call writes them, and as a person of one language says them."""


class Request(NamedTuple):
    """A request and the call that it stands for."""

    text: str
    call: str
    function: str
    language: str


class _Maker:
    """All requests in one language."""

    def __init__(self, language: str) -> None:
        told = yaml.safe_load((FOLDER / "patterns.yaml").read_text(encoding="utf-8"))
        place = ("en", "ko").index(language)
        self.language = language
        self._patterns: dict[str, list[str]] = {
            name: patterns[language] for name, patterns in told["patterns"].items()
        }
        self._words: dict[str, Words] = {
            name: [(value, said[place]) for value, said in words.items()]
            for name, words in told["words"].items()
        }

    def weather(self) -> Pairs:
        for pattern, (city, place), (day, when) in self._each("weather", "city", "day"):
            yield pattern.format(city=place, day=when), f"weather(city={city}, day={day})"

    def alarm(self) -> Pairs:
        for pattern, (clock, said) in product(self._patterns["alarm"], self._times()):
            yield pattern.format(time=said), f"alarm(time={clock})"

    def timer(self) -> Pairs:
        for pattern, n in product(self._patterns["timer"], MINUTES):
            yield pattern.format(n=n, unit="minute" if n == 1 else "minutes"), f"timer(minutes={n})"

    def music(self) -> Pairs:
        for (pattern, (genre, said)), volume in product(self._each("music", "genre"), VOLUMES):
            yield pattern.format(genre=said, volume=volume), f"music(genre={genre}, volume={volume})"

    def call(self) -> Pairs:
        for kind in ("phone", "video"):
            for pattern, (who, said) in self._each(f"call_{kind}", "who"):
                # 랑 after a vowel, 이랑 after a consonant.
                with_ = "이랑" if (ord(said[-1]) - ord("가")) % 28 else "랑"
                yield pattern.format(who=said, with_=with_), f"call(who={who}, kind={kind})"

    def convert(self) -> Pairs:
        pairs = permutations(self._words["currency"], 2)
        for pattern, amount, ((first, from_), (second, to)) in product(
            self._patterns["convert"], AMOUNTS, pairs
        ):
            said = pattern.format_map({"amount": amount, "from": from_, "to": to})
            # 원 and 엔 end in a consonant, and take 으로.
            said = said.replace("원로", "원으로").replace("엔로", "엔으로")
            yield said, f"convert(amount={amount}, from={first}, to={second})"

    def light(self) -> Pairs:
        for pattern, (room, where), (state, said) in self._each("light", "room", "state"):
            yield pattern.format(room=where, state=said), f"light(room={room}, state={state})"

    def shopping(self) -> Pairs:
        for (pattern, (item, said)), n in product(self._each("shopping", "item"), range(1, 13)):
            yield pattern.format(item=said, n=n), f"shopping(item={item}, count={n})"

    def _each(self, patterns: str, *words: str) -> Iterator[Any]:
        return product(self._patterns[patterns], *(self._words[name] for name in words))

    def _times(self) -> Words:
        found = []
        for hour, minute in product(range(24), (0, 10, 15, 20, 30, 40, 45, 50)):
            short, clock = hour % 12 or 12, f"{hour:02}:{minute:02}"
            if self.language == "en":
                half = "am" if hour < 12 else "pm"
                found.append((clock, f"{short}:{minute:02} {half}" if minute else f"{short} {half}"))
            elif hour not in (0, 12):  # 오전 12시 and 오후 12시 mean different things to different people
                minutes = {0: "", 30: " 반"}.get(minute, f" {minute}분")
                found.append((clock, f"{'오전' if hour < 12 else '오후'} {short}시{minutes}"))
        return found


def requests() -> list[Request]:
    """As many different requests of each function as `EACH` says, in both languages, shuffled."""
    rng = random.Random(SEED)  # noqa: S311
    found = []
    for language in ("en", "ko"):
        maker = _Maker(language)
        for function, count in EACH.items():
            every = list(dict(getattr(maker, function)()).items())
            found += [Request(*pair, function, language) for pair in rng.sample(every, count)]
    rng.shuffle(found)
    return found


def rows() -> list[dict[str, Any]]:
    """All rows: single requests, conversations of two, and the chats."""
    found = requests()
    rng = random.Random(SEED + 1)  # noqa: S311
    every = [_row(each) for each in found]
    for first in rng.sample(found, FOLLOWED):
        others = [each for each in found if each.language == first.language and each is not first]
        every.append(_row(first, rng.choice(others)))
    chats = (FOLDER / "chats.jsonl").read_text(encoding="utf-8")
    every += [json.loads(line) for line in chats.split("\n") if line]
    rng.shuffle(every)
    return every


def _row(*said: Request) -> dict[str, Any]:
    messages = [
        {"role": role, "content": content}
        for each in said
        for role, content in (("user", each.text), ("assistant", each.call))
    ]
    functions = " ".join(each.function for each in said)
    return {"messages": messages, "function": functions, "language": said[0].language}


if __name__ == "__main__":
    for row in rows():
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
