"""Function calls: which function an answer calls, with which arguments."""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from evaluators.suites.scorers.base import Answer, Case, Fields, NoOptions, Scored, Scorer
from evaluators.suites.scorers.structured import json_values, same_value

_FUNCTION_TAG = re.compile(
    r"<function=(?P<name>[^>\s]+)>\s*(?P<arguments>\{.*?\})\s*(?:</function>|$)", re.DOTALL
)
_ARGUMENTS = ("arguments", "parameters", "args", "input")


class Call(BaseModel):
    """A call: a function's name and its arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)


def calls_in(text: str) -> list[Call]:
    """The calls of an answer, in order: JSON objects with `name` and `arguments` (or `parameters`), alone, in lists,
    under `function` or `tool_calls`, in code blocks or between the marks of models' own formats (<tool_call>,
    [TOOL_CALLS], <|python_tag|>), `<function=name>{...}</function>`, and as Python: `name(key="value")`."""
    tagged = [
        Call(name=found["name"], arguments=arguments)
        for found in _FUNCTION_TAG.finditer(text)
        if (arguments := _object(found["arguments"])) is not None
    ]
    if tagged:
        return tagged
    found = [call for value in json_values(text) for call in _calls(value)]
    return found or _python_calls(text)


def _calls(value: Any) -> list[Call]:
    if isinstance(value, list):
        return [call for each in value for call in _calls(each)]
    if not isinstance(value, dict):
        return []
    for key in ("tool_calls", "function_call", "function", "tool_call"):
        if isinstance(value.get(key), dict | list):
            return _calls(value[key])
    name = next(
        (value[key] for key in ("name", "function", "tool", "tool_name") if isinstance(value.get(key), str)),
        None,
    )
    if name is None:
        return []
    arguments: Any = next((value[key] for key in _ARGUMENTS if key in value), {})
    if isinstance(arguments, str):  # OpenAI's servers give them as text
        arguments = _object(arguments)
    return [Call(name=name, arguments=arguments)] if isinstance(arguments, dict) and name else []


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _python_calls(text: str) -> list[Call]:
    for line in re.findall(r"^[\s\[`]*([A-Za-z_][\w.]*\(.*\))[\]`\s]*$", text, re.MULTILINE):
        try:
            node = ast.parse(line, mode="eval").body
            if isinstance(node, ast.Call) and not node.args:
                arguments = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg}
                return [Call(name=ast.unparse(node.func), arguments=arguments)]
        except (SyntaxError, ValueError):  # prose in brackets
            continue
    return []


class CallFields(Fields):
    """`target`, how many functions are offered (`tools`), other accepted values of arguments, and the draw's seed."""

    target: Call
    tools: int = Field(ge=1)
    arguments_any: dict[str, list[Any]] = Field(default_factory=dict)
    seed: int | None = None


def offered_tools(
    catalogue: Mapping[str, dict[str, Any]], fields: CallFields, item_id: str
) -> list[dict[str, Any]]:
    """The functions offered for one item: the target and a seeded draw of others, shuffled. The same on every
    machine. Raises ValueError where the catalogue lacks the target or holds too few."""
    if fields.target.name not in catalogue:
        raise ValueError(f"tools.jsonl holds no function '{fields.target.name}'")
    if fields.tools > len(catalogue):
        raise ValueError(
            f"{fields.tools} functions are to be offered, but tools.jsonl holds {len(catalogue)}"
        )
    rng = random.Random(f"{item_id}:{fields.seed}")  # noqa: S311  # a draw of a test, no secret
    others = [name for name in catalogue if name != fields.target.name]
    names = [fields.target.name, *rng.sample(others, fields.tools - 1)]
    rng.shuffle(names)
    return [catalogue[name] for name in names]


def wrong_arguments(call: Call, target: Call, accepted: Mapping[str, Sequence[Any]]) -> list[str]:
    """The arguments that differ (names, sorted). One that the target lacks may be left out or be any of `accepted`."""
    wrong = []
    for key in sorted(call.arguments.keys() | target.arguments.keys() | accepted.keys()):
        values = [*([target.arguments[key]] if key in target.arguments else []), *accepted.get(key, [])]
        if key not in target.arguments and key not in call.arguments:
            continue
        if not any(same_value(call.arguments.get(key), value) for value in values):
            wrong.append(key)
    return wrong


def function_call(answer: Answer, case: Case) -> Scored:
    """`call`: exactly one call, of the right function with the right arguments; `name` and `arguments` (the share of
    the target's that are right, 0 for another function) of the first call."""
    calls = calls_in(answer.text)
    target = case.fields.target
    if not calls:
        return Scored({"call": 0.0, "name": 0.0, "arguments": 0.0}, {"calls": []})
    first = calls[0]
    wrong = wrong_arguments(first, target, case.fields.arguments_any)
    named = first.name == target.name
    count = len(first.arguments.keys() | target.arguments.keys())
    return Scored(
        {
            "call": float(named and not wrong and len(calls) == 1),
            "name": float(named),
            "arguments": float(named) * (1 - len(wrong) / count if count else 1.0),
        },
        {"calls": [call.model_dump() for call in calls[:3]], "wrong": wrong},
    )


SCORERS = (Scorer("function_call", CallFields, NoOptions, ("call", "name", "arguments"), function_call),)
