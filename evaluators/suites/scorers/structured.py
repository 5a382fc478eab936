"""JSON in answers: fields that were to be extracted, and validity against a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import ConfigDict, Field

from evaluators.suites.scorers.base import Answer, Case, Fields, NoOptions, Options, Scored, Scorer
from evaluators.suites.scorers.numeric import number
from evaluators.suites.scorers.text import Ignoring, normalised, plain

_COMPARED = Ignoring(spaces=True)
_KEY = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*:\s*')
_NEXT = re.compile(r"\s*[,}]")


def json_values(text: str) -> Iterator[Any]:
    """The JSON objects and arrays that stand in a text (alone, in code blocks, between words), outermost first."""
    decoder = json.JSONDecoder()
    at = 0
    while True:
        found = re.compile(r"[{\[]").search(text, at)
        if found is None:
            return
        try:
            value, at = decoder.raw_decode(text, found.start())
        except ValueError:
            at = found.start() + 1
            continue
        yield value


def json_object(text: str) -> dict[str, Any] | None:
    """The first JSON object of a text."""
    return next((value for value in json_values(text) if isinstance(value, dict)), None)


def begun_object(text: str) -> dict[str, Any] | None:
    """The first JSON object of a text that broke off before its end (a model that never stops): the fields that are
    complete. Of a key that stands several times the first value counts; None where there is none."""
    start = re.search(r"\{\s*(?=\")", text)
    if start is None:
        return None
    decoder, found, at = json.JSONDecoder(), dict[str, Any](), start.end()
    while field := _KEY.match(text, at):
        try:
            value, at = decoder.raw_decode(text, field.end())
        except ValueError:
            break
        following = _NEXT.match(text, at)
        if following is None:
            break  # the value itself may be cut off, as a number is
        found.setdefault(field[1], value)
        at = following.end()
    return found or None


def same_value(read: Any, target: Any) -> bool:
    """Whether two JSON values say the same: texts after normalisation, numbers by value (also where one side is
    text), lists in any order, objects field by field. Blank text, null and a missing field are the same."""
    if _blank(read) or _blank(target):
        return _blank(read) and _blank(target)
    if isinstance(target, bool) or isinstance(read, bool):
        return str(read).lower() == str(target).lower()
    if isinstance(target, dict) and isinstance(read, dict):
        return all(same_value(read.get(key), target.get(key)) for key in target.keys() | read.keys())
    if isinstance(target, list):
        if not isinstance(read, list):
            return len(target) == 1 and same_value(read, target[0])
        left = list(read)
        for wanted in target:
            place = next((i for i, each in enumerate(left) if same_value(each, wanted)), None)
            if place is None:
                return False
            left.pop(place)
        return not left
    if isinstance(read, list):
        return len(read) == 1 and same_value(read[0], target)
    if isinstance(read, dict) or isinstance(target, dict):
        return False
    if isinstance(target, int | float) or isinstance(read, int | float):
        values = number(str(read)), number(str(target))
        return values[0] is not None and values[0] == values[1]
    return normalised(str(read), _COMPARED) == normalised(str(target), _COMPARED)


def _blank(value: Any) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, str) and not plain(value).strip())


class Extracted(Fields):
    """`target`: the fields that a right answer holds."""

    target: dict[str, Any] = Field(min_length=1)


def json_fields(answer: Answer, case: Case) -> Scored:
    """`field_f1` over the fields (a field that should be blank counts when it is given a value), `exact` where all
    are right, `valid_json` where the answer holds a JSON object. Of an object that broke off its complete fields
    count for `field_f1` alone."""
    read = json_object(answer.text)
    target = case.fields.target
    begun = None if read is not None else begun_object(answer.text)
    given = read or begun or {}
    wrong = sorted(
        key for key in target.keys() | given.keys() if not same_value(given.get(key), target.get(key))
    )
    wanted = [key for key, value in target.items() if not _blank(value)]
    stated = [key for key, value in given.items() if not _blank(value)]
    hits = sum(key not in wrong for key in wanted)
    both = len(wanted) + len(stated)
    f1 = 2 * hits / both if both else float(read is not None)
    return Scored(
        {
            "field_f1": f1,
            "exact": float(read is not None and not wrong),
            "valid_json": float(read is not None),
        },
        {"read": read if begun is None else begun, "wrong": wrong},
    )


class SchemaFields(Fields):
    """`schema`: a JSON schema, in the item or in the options."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)
    of_item: dict[str, Any] | None = Field(default=None, alias="schema")


class SchemaOptions(Options):
    """The schema of all items."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    of_suite: dict[str, Any] | None = Field(default=None, alias="schema")


def json_schema(answer: Answer, case: Case) -> Scored:
    """1 where the answer's JSON is valid by the schema; `valid_json` where it holds any."""
    from jsonschema import validators
    from jsonschema.exceptions import SchemaError, best_match

    schema = case.fields.of_item or case.options.of_suite
    if schema is None:
        raise ValueError("scorer json_schema: give `schema` in the item or in scorer_options")
    checker = validators.validator_for(schema)
    try:
        checker.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"scorer json_schema: the schema is not valid: {error.message}") from error
    values = list(json_values(answer.text))
    if not values:
        return Scored({"valid": 0.0, "valid_json": 0.0}, {"problem": "no JSON in the answer"})
    problem = best_match(checker(schema).iter_errors(values[0]))
    detail = {"read": values[0], "problem": None if problem is None else problem.message}
    return Scored({"valid": float(problem is None), "valid_json": 1.0}, detail)


SCORERS = (
    Scorer("json_fields", Extracted, NoOptions, ("field_f1", "exact", "valid_json"), json_fields),
    Scorer("json_schema", SchemaFields, SchemaOptions, ("valid", "valid_json"), json_schema),
)
