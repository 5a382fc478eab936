"""The data that ships: calls that follow from their requests, and nothing in the measure that training saw."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from trainers.data.make_calls import EACH, Request, requests, rows
from trainers.recipes import read_recipe

FOLDER = Path(__file__).parents[2] / "trainers" / "data"
CALL = re.compile(r"(\w+)\(((?:\w+=[^,=()]+)(?:, \w+=[^,=()]+)*)\)")
KEYS = {
    "weather": ["city", "day"], "alarm": ["time"], "timer": ["minutes"], "music": ["genre", "volume"],
    "call": ["who", "kind"], "convert": ["amount", "from", "to"], "light": ["room", "state"],
    "shopping": ["item", "count"],
}  # fmt: skip


def told(file: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (FOLDER / file).read_text(encoding="utf-8").split("\n") if line]


def test_the_file_is_what_its_patterns_make() -> None:
    assert told("calls.jsonl") == rows()


def test_every_call_follows_from_its_request() -> None:
    patterns = yaml.safe_load((FOLDER / "patterns.yaml").read_text(encoding="utf-8"))
    words = patterns["words"]
    names = {"city": "city", "day": "day", "genre": "genre", "who": "who", "room": "room", "state": "state",
             "item": "item", "from": "currency", "to": "currency"}  # fmt: skip
    made = requests()
    assert len({each.text for each in made}) == len(made) == 2 * sum(EACH.values())
    for each in made:
        for key, value in _arguments(each):
            if key in names:
                said = words[names[key]][value][("en", "ko").index(each.language)]
                assert said in each.text, each
            elif key in ("minutes", "volume", "amount", "count"):
                assert re.search(rf"(?<!\d){value}(?!\d)", each.text), each
            elif key == "time":
                hour, minute = map(int, value.split(":"))
                assert str(hour % 12 or 12) in each.text, each
                assert minute in (0, 30) or str(minute) in each.text, each
                assert (hour < 12) == ("am" in each.text or "오전" in each.text), each
            else:
                asked = any(word in each.text.casefold() for word in ("video", "영상", "얼굴"))
                assert (value == "video") == asked, each


def _arguments(request: Request) -> list[tuple[str, str]]:
    found = CALL.fullmatch(request.call)
    assert found is not None, request
    assert found[1] == request.function
    pairs = [tuple(pair.split("=")) for pair in found[2].split(", ")]
    assert [key for key, _ in pairs] == KEYS[found[1]]
    return [(key, value) for key, value in pairs]


def test_the_measure_in_other_words_was_never_trained_on() -> None:
    seen = {message["content"] for row in rows() for message in row["messages"] if message["role"] == "user"}
    others = told("calls_other_words.jsonl")
    assert len(others) == 64
    for row in others:
        found = CALL.fullmatch(str(row["response"]))
        assert found is not None, row
        assert [pair.split("=")[0] for pair in found[2].split(", ")] == KEYS[found[1]], row
        assert row["prompt"] not in seen


def test_the_recipe_can_be_read() -> None:
    recipe = read_recipe(FOLDER / "calls.yaml")
    assert (recipe.name, recipe.base, recipe.dataset) == ("smollm2-135m-calls", "smollm2-135m", "calls")
