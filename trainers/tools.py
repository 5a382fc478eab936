"""Tools for tool mode (see `tool_mode`) from a YAML file: sums that the process itself can do, and programs."""

from __future__ import annotations

import ast
import math
import operator
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from trainers.tool_mode import Run, Tool

COMMAND_SECONDS = 20.0
"""How long a program may take for one call."""

_MOST_NUMBERS = 200

Sum = Literal["calculate", "add", "subtract", "multiply", "divide"]


class BadTools(ValueError):
    """The file of tools cannot be used. The message names the file, the entry and what would be right."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str = Field(min_length=1)
    demonstrations: str = ""
    run: Sum | None = None
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.run is None) == (self.command is None):
            raise ValueError("give either `run` (calculate, add, subtract, multiply, divide) or `command`")
        return self


def read_tools(path: Path) -> list[Tool]:
    """The tools of a YAML list. Each entry has a `token`, `demonstrations` of how its arguments follow from a text, and
    what runs: `run: add` (or subtract, multiply, divide: numbers between commas; calculate: an expression), or
    `command: [PROGRAM, WORD...]`, which gets the arguments as its last word and whose output is the result.

    Raises `BadTools`.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadTools(f"{path}: cannot be read ({error})") from None
    try:
        entries = TypeAdapter(Annotated[list[_Entry], Field(min_length=1)]).validate_python(values)
    except ValidationError as error:
        told = (
            f"{'.'.join(map(str, each['loc'])) or 'the file'}: {str(each['msg']).removeprefix('Value error, ')}"
            for each in error.errors()
        )
        raise BadTools(f"{path}: {'; '.join(told)}") from None
    return [Tool(each.token, each.demonstrations, _run_of(each)) for each in entries]


def _run_of(entry: _Entry) -> Run:
    if entry.command is not None:
        return partial(_output_of, entry.command)
    assert entry.run is not None  # the entry was checked
    return partial(_written_sum, entry.run)


def _output_of(command: Sequence[str], arguments: str) -> str:
    """What a program writes for the arguments, which no shell reads. Raises ValueError."""
    try:
        done = subprocess.run(
            [*command, arguments], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(str(error)) from error
    if done.returncode:
        raise ValueError(done.stderr.strip() or f"{command[0]} ended with {done.returncode}")
    return done.stdout.strip()


def _written_sum(kind: Sum, arguments: str) -> str:
    """The result of a sum as people write it. Raises ValueError."""
    try:
        if kind == "calculate":
            value = _value_of(ast.parse(arguments[:_MOST_NUMBERS], mode="eval").body)
        else:
            first, *others = (float(word) for word in arguments.split(","))
            value = first
            for other in others:
                value = _OPERATIONS[kind](value, other)
    except (SyntaxError, ArithmeticError) as error:
        raise ValueError(str(error)) from error
    if not math.isfinite(value):
        raise ValueError(f"the result is {value}")
    return f"{value:.10g}" if value != int(value) or abs(value) >= 1e15 else str(int(value))


_OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
}
_SIGNS: dict[type[Any], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _value_of(node: ast.expr) -> float:
    """The value of an expression of numbers, + - * / and brackets. Raises ValueError for anything else."""
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, int | float)
        and type(node.value) is not bool
    ):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value_of(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
        return _SIGNS[type(node.op)](_value_of(node.left), _value_of(node.right))
    raise ValueError("only numbers, + - * / and brackets can be reckoned")
