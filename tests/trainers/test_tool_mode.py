"""Tool mode: a token stops the model, its arguments are asked for, the result stands in the text."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import pytest

from arena.engines.base import Chunk, Finished, Generation, GenerationRequest, TextDelta
from trainers.tool_mode import Tool, ToolFailed, answer_with_tools


class Scripted:
    """Goes on from a prompt by its end; writes one character a chunk, so that tokens arrive in pieces."""

    def __init__(self, script: dict[str, str]) -> None:
        self.script = script
        self.asked: list[str] = []
        self.closed = 0

    def _answer(self, request: GenerationRequest) -> str:
        prompt = request.text or ""
        self.asked.append(prompt)
        return next(answer for end, answer in self.script.items() if prompt.endswith(end))

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        try:
            text = self._answer(request)
            for character in text:
                yield TextDelta(text=character)
            yield Finished(generation=_made(text))
        finally:
            self.closed += 1

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        return [_made(self._answer(request)) for request in requests]

    async def close(self) -> None:
        return


def _made(text: str) -> Generation:
    return Generation(text=text, finish_reason="stop", duration=0.0, rendered_by="engine")


def add(arguments: str) -> str:
    first, _, second = arguments.partition(",")
    return str(int(first) + int(second))


ADD = Tool("<더하기>", "2 + 3 = <더하기>(2, 3)\n", add)


async def test_results_stand_where_the_calls_were() -> None:
    engine = Scripted({
        "합은?": "답은 <더하기> 그리고 잊힘", "<더하기>(": "17, 25) 뒤의 말", "답은 42": "입니다.",
    })  # fmt: skip
    answer = await answer_with_tools(engine, GenerationRequest(text="17과 25의 합은?"), [ADD])
    assert answer.text == "답은 42입니다."
    (call,) = answer.calls
    assert (call.token, call.before, call.arguments, call.result) == ("<더하기>", "답은 ", "17, 25", "42")
    assert engine.asked[1] == "2 + 3 = <더하기>(2, 3)\n17과 25의 합은?답은 <더하기>("
    assert engine.closed == 2


async def test_endless_calls_end_and_bad_arguments_are_told() -> None:
    engine = Scripted({"<더하기>(": "1, 1", "": "<더하기>"})
    answer = await answer_with_tools(engine, GenerationRequest(text="?"), [ADD], most_calls=3)
    assert (answer.text, len(answer.calls)) == ("222", 3)
    engine = Scripted({"<더하기>(": "하나", "": "<더하기>"})
    with pytest.raises(ToolFailed, match=r"<더하기>\(하나\) cannot be run"):
        await answer_with_tools(engine, GenerationRequest(text="?"), [ADD])
    with pytest.raises(ValueError, match="raw text"):
        await answer_with_tools(engine, GenerationRequest(), [ADD])
