"""Answers of a model with tool tokens (ToolkenGPT, arXiv 2305.11554): a token calls, its arguments are asked for with a
prompt of their own, the tool runs, and its result stands in the answer when writing goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from arena.engines.base import Engine, GenerationRequest, TextDelta

Run = Callable[[str], str]

MOST_CALLS = 8


class ToolFailed(Exception):
    """A tool could not be run with what the model gave it. The message names the token and the arguments."""


@dataclass(frozen=True)
class Tool:
    """A token that calls. `demonstrations` show how its arguments follow from a text (few-shot, ending where the model
    goes on); `run` turns the arguments, as text, into a result and raises ValueError where they mean nothing."""

    token: str
    demonstrations: str
    run: Run


@dataclass(frozen=True)
class Call:
    """One call: the text before it, its arguments and its result."""

    token: str
    before: str
    arguments: str
    result: str


@dataclass(frozen=True)
class ToolAnswer:
    """The whole text, results in place of calls, and the calls in order."""

    text: str
    calls: tuple[Call, ...]


async def answer_with_tools(
    engine: Engine, request: GenerationRequest, tools: Sequence[Tool], *, most_calls: int = MOST_CALLS
) -> ToolAnswer:
    """Go on from a raw prompt (`request.text`), running a tool at each of its tokens.

    The model is stopped at a tool's token; the arguments are what it writes after the tool's demonstrations and the
    text so far, up to `)` or to another call, which arguments cannot hold. A token beyond `most_calls` ends the answer
    before it.

    Raises:
        ToolFailed: a tool could not make sense of its arguments.
        ValueError: the request has no raw prompt.
        EngineError: the engine could not answer.
    """
    if request.text is None:
        raise ValueError("tool mode goes on from raw text: render the conversation first")
    text = ""
    calls: list[Call] = []
    while True:
        written, tool = await _until_tool(
            engine, request.model_copy(update={"text": request.text + text}), tools
        )
        text += written
        if tool is None or len(calls) >= most_calls:
            return ToolAnswer(text=text, calls=tuple(calls))
        asked = f"{tool.demonstrations}{request.text}{text}{tool.token}("
        ends = (*request.stop, ")", *(each.token for each in tools))
        (told,) = await engine.generate([request.model_copy(update={"text": asked, "stop": ends})])
        arguments = told.text.partition(")")[0].strip()
        try:
            result = tool.run(arguments)
        except ValueError as error:
            raise ToolFailed(f"{tool.token}({arguments}) cannot be run: {error}") from error
        calls.append(Call(token=tool.token, before=text, arguments=arguments, result=result))
        text += result


async def _until_tool(
    engine: Engine, request: GenerationRequest, tools: Sequence[Tool]
) -> tuple[str, Tool | None]:
    """The text up to the first token of a tool, and that tool; all of it and None where none comes."""
    text = ""
    async with aclosing(engine.stream(request)) as chunks:
        async for chunk in chunks:
            if not isinstance(chunk, TextDelta):
                continue
            text += chunk.text
            met = [(text.index(tool.token), tool) for tool in tools if tool.token in text]
            if met:
                place, tool = min(met, key=lambda each: each[0])
                return text[:place], tool
    return text, None
